"""Progress, told and not shown: the library reports, the command line draws.

A stage that may take longer than two seconds opens a task and advances it:

    with progress.task("Synthesizing images", total=200) as task:
        task.advance(1, loss=0.31)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    def advance(self, steps: int = 1, **figures: float) -> None:
        """Moves the bar by `steps` and shows the newest `figures` (loss, learning rate, …) beside it."""

    def name(self, part: str) -> None:
        """Says which part runs now, beside the bar."""


class Progress(Protocol):
    def task(self, description: str, total: int):
        """A context manager that yields a `Task` of `total` steps."""

    def note(self, message: str) -> None:
        """Says one line: what was assumed, chosen, skipped."""


class _SilentTask:
    def advance(self, steps: int = 1, **figures: float) -> None:
        pass

    def name(self, part: str) -> None:
        pass


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, total: int) -> Iterator[Task]:
        yield _SilentTask()

    def note(self, message: str) -> None:
        pass
