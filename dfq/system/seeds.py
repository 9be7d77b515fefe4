"""Seeds of the parts of a run, which depend on the run's seed and the number of the part, and on nothing else."""

import hashlib


def seed_of_part(seed: int, number: int) -> int:
    """Returns the seed of the part of that number, in [0, 2⁶³); parts of one run and of others have other seeds.

    So a part draws the same numbers whatever was drawn before it, and in whichever process it is worked on.
    """
    found = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(found[:8], "little") >> 1
