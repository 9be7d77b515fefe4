"""How the library reports progress; the command line and notebooks draw it (`dfq.system.terminal_progress`).

A stage that may take longer than two seconds opens a task and advances it:

    with progress.task("Synthesizing images", total=200) as task:
        task.advance(1, loss=0.31)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One stage, or a part of one, that advances step by step."""

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Moves the bar by `steps`, and shows the newest `figures` (loss, learning rate, …) beside it."""

    def name(self, part: str) -> None:
        """Shows beside the bar which part runs now."""


class Progress(Protocol):
    """Where a job reports what it does."""

    def task(self, description: str, total: int, seconds: float | None = None):
        """Returns a context manager that yields a `Task` of `total` steps.

        Args:
            description: What is done, in at most `ProgressSettings.description_width` characters.
            total: Number of steps.
            seconds: Time after which the stage ends, also with steps left; None: there is no limit.
        """

    def note(self, message: str) -> None:
        """Shows one line on something that was assumed, chosen or skipped."""


class _SilentTask:
    def advance(self, steps: int = 1, **figures: float) -> None:
        pass

    def name(self, part: str) -> None:
        pass


class Silent:
    """A `Progress` that shows nothing."""

    @contextmanager
    def task(self, description: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        yield _SilentTask()

    def note(self, message: str) -> None:
        pass
