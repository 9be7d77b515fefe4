"""`JobSettings`: what a user may choose about every job."""

from dataclasses import dataclass, fields
from math import isfinite

from dfq.errors import DfqError


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """Which numbers are slips.

    Attributes:
        most: Largest number of images, steps and the like: more would never end.
        most_seed: Largest seed, which random generators keep in 64 bits.
    """

    most: int = 10**9
    most_seed: int = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """The settings that all jobs have.

    Attributes:
        flip: Whether a mirrored image has the same class. Switch it off for digits, letters and traffic signs.
        budget: Time limit for the whole job; a plain number counts seconds. None: no limit.
        seed: Seed of every random draw.
    """

    flip: bool = True
    budget: float | None = None
    seed: int = 0

    def __post_init__(self):
        limits = LimitSettings()
        if self.budget is not None and not (self.budget > 0 and isfinite(self.budget)):
            raise DfqError(f"a budget of {self.budget} seconds", "a positive time", "for example --budget 5m")
        if not 0 <= self.seed <= limits.most_seed:
            raise DfqError(f"the seed {self.seed}", f"a number from 0 to {limits.most_seed}", "for example --seed 1")
        for field in fields(self):
            value, option = getattr(self, field.name), field.name.replace("_", "-")
            if field.name not in UNLIMITED and isinstance(value, int) and value > limits.most:
                raise DfqError(f"--{option} {value}", f"at most {limits.most:,}", f"choose a smaller --{option}")


UNLIMITED = ("seed", "target_size", "target_bops")  # These have limits of their own, or none.
