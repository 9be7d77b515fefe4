"""The results of a benchmark, cell by cell in one file: a cell that is there is never run again."""

import json
import signal
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dfq.results.stored_files import write_json


def read_rows(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def finished(path: Path, kind: type) -> set:
    """The cells of that dataclass whose rows are there."""
    return {kind(**{field.name: row[field.name] for field in fields(kind)}) for row in read_rows(path)}


def run_cells(cells: Iterable, path: Path, only: str, run: Callable[[Any], dict]) -> Iterable[dict]:
    """Runs what is missing, and gives each new row.

    Args:
        only: words that the name of a cell must contain, all of them.
        run: a cell's figures; its own fields are added.
    """
    for cell in cells:
        if cell in finished(path, type(cell)) or not all(word in cell.name().split() for word in only.split()):
            continue
        row = {**asdict(cell), **run(cell)}
        write_json(path, [*read_rows(path), row])  # read again: another process may have added cells
        yield row


def stop_after(minutes: float | None) -> None:
    """Interrupts this process then; the next one goes on where it stopped."""

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    if minutes:
        signal.signal(signal.SIGALRM, interrupt)
        signal.alarm(int(minutes * 60))
