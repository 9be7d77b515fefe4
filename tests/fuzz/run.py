"""Tries many odd inputs of every kind and prints a table.

PYTHONPATH=tests python tests/fuzz/run.py COUNT [KIND …]
"""

import collections
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from support.checkpoint_cases import ARCH
from support.command_line import SMALL, succeed
from support.fuzzing.kinds import NAMES, file_kinds
from support.fuzzing.outcome import Outcome
from support.fuzzing.slices import BY_HAND, sliced
from support.fuzzing.trial import try_file

import dfq.checkpoint.arch
from dfq.checkpoint import save_checkpoint
from dfq.models.registry import DIGITS_INPUT, build
from dfq.models.settings import SuggestSettings
from dfq.models.suggest import suggest

HEAD = ("kind", "tried", "read", "refused", "longest, s", "most memory, MB")


def row(name: str, outcomes: list[Outcome]) -> str:
    """Returns a line of the table."""
    read = sum(outcome.is_read for outcome in outcomes)
    seconds, memory = max(each.seconds for each in outcomes), max(each.memory for each in outcomes)
    cells = (name, len(outcomes), read, len(outcomes) - read, f"{seconds:.1f}", f"{memory / 1e6:.0f}")
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Prints the table; an input that breaks the rules ends it with that input's error."""
    os.environ[BY_HAND], names = sys.argv[1], sys.argv[2:] or NAMES
    dfq.checkpoint.arch.suggest = partial(suggest, settings=SuggestSettings(seconds=0.1))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        torch.manual_seed(0)
        model = save_checkpoint(Path(place) / "net.pt", build(ARCH), ARCH, DIGITS_INPUT)
        succeed("quantize", model, "--bits", "4", *SMALL, "--out", "run")
        kinds = {kind.name: kind for kind in file_kinds(Path(place) / "run", model)}
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
        tried: dict[str, list[Outcome]] = collections.defaultdict(list)
        for name in names:
            sliced(
                kinds[name].odd,
                lambda content, name=name: tried[name].append(try_file(kinds[name], content, Path(place) / "files")),
            )
            print(row(name, tried[name]), flush=True)


if __name__ == "__main__":
    main()
