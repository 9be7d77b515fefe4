"""Tries many odd inputs of every kind and prints a table.

PYTHONPATH=tests python tests/fuzz/run.py COUNT [KIND …]
"""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from support.checkpoint_cases import ARCH
from support.command_line import SMALL, succeed
from support.fuzzing.kinds import NAMES, Kind, file_kinds
from support.fuzzing.options import command_lines, make_pipe, try_options, without_work
from support.fuzzing.outcome import Outcome, attempt
from support.fuzzing.slices import BY_HAND, sliced
from support.fuzzing.trial import try_file

from dfq.checkpoint import save_checkpoint
from dfq.models.registry import DIGITS_INPUT, build
from dfq.models.settings import SuggestSettings
from dfq.models.suggest import suggest

OPTIONS = "options of all commands"
SHORT_SEARCH = partial(suggest, settings=SuggestSettings(seconds=0.1))  # What a suggestion would be is of no interest.
HEAD = ("kind", "tried", "read", "refused", "longest, s", "most memory, MB")


def row(name: str, outcomes: list[Outcome]) -> str:
    """Returns a line of the table."""
    read = sum(outcome.is_read for outcome in outcomes)
    seconds, memory = max(each.seconds for each in outcomes), max(each.memory for each in outcomes)
    cells = (name, len(outcomes), read, len(outcomes) - read, f"{seconds:.1f}", f"{memory / 1e6:.0f}")
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Prints the table; an input that breaks the rules ends it with that input's error."""
    os.environ[BY_HAND], names = sys.argv[1], sys.argv[2:] or [*NAMES, OPTIONS]
    torch.set_num_threads(1)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    with tempfile.TemporaryDirectory() as place, patch("dfq.checkpoint.arch.suggest", SHORT_SEARCH):
        os.chdir(place)
        torch.manual_seed(0)
        model = save_checkpoint(Path(place) / "net.pt", build(ARCH), ARCH, DIGITS_INPUT)
        succeed("quantize", model, "--bits", "4", *SMALL, "--out", "run")
        run = Path(place) / "run"
        kinds = {kind.name: kind for kind in file_kinds(run, model)}
        for name in names:
            outcomes = of_options(model, run) if name == OPTIONS else of_files(kinds[name], Path(place) / "files")
            print(row(name, outcomes), flush=True)


def of_files(kind: Kind, folder: Path) -> list[Outcome]:
    """Tries odd files of a kind."""
    found: list[Outcome] = []
    sliced(kind.odd, lambda content: found.append(try_file(kind, content, folder)))
    return found


def of_options(model: Path, run: Path) -> list[Outcome]:
    """Tries odd command lines in the current folder."""
    found: list[Outcome] = []
    make_pipe(Path())
    with without_work():
        lines = command_lines({"model": model, "run": run, "data": Path("none.npz")})
        sliced(lines, lambda line: found.append(attempt(lambda: try_options(line))))
    return found


if __name__ == "__main__":
    main()
