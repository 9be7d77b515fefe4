"""The results of a benchmark, cell by cell in one file; a cell that is in the file is never run again."""

import json
import signal
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dfq.results.stored_files import write_json


def read_rows(path: Path) -> list[dict]:
    """Returns the rows of a file of results; none if there is no such file."""
    return json.loads(path.read_text()) if path.exists() else []


def finished(path: Path, kind: type) -> set:
    """Returns the cells of the dataclass `kind` whose rows are in the file."""
    return {kind(**{field.name: row[field.name] for field in fields(kind)}) for row in read_rows(path)}


def run_cells(cells: Iterable, path: Path, only: str, run: Callable[[Any], dict]) -> Iterable[dict]:
    """Runs the cells that are missing in the file, and yields each new row.

    Args:
        cells: Instances of one dataclass with a method `name`.
        path: The file of results.
        only: Words that the name of a cell must contain, all of them.
        run: Returns the figures of a cell; the cell's own fields are added to them.
    """
    for cell in cells:
        if cell in finished(path, type(cell)) or not all(word in cell.name().split() for word in only.split()):
            continue
        row = {**asdict(cell), **run(cell)}
        write_json(path, [*read_rows(path), row])  # read again: another process may have added cells
        yield row


def stop_after(minutes: float | None) -> None:
    """Interrupts this process after that time; the next process goes on where it stopped."""

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    if minutes:
        signal.signal(signal.SIGALRM, interrupt)
        signal.alarm(int(minutes * 60))
