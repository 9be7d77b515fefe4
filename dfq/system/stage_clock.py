"""`Clock` measures how long each stage of a run takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """A clock that starts when it is made.

    Attributes:
        seconds: Seconds that each stage has taken so far, by name. Four stages are always there, others where they ran.
    """

    def __init__(self):
        self.seconds: dict[str, float] = dict.fromkeys(("synthesis", "training", "export", "validation"), 0.0)
        self._start = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the stage of that name."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    def move(self, source: str, target: str, seconds: float) -> None:
        """Takes seconds that were measured within `source` from it, and adds them to `target`."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def to_dict(self) -> dict[str, float]:
        """Returns the seconds of each stage, and those since the start as `total`."""
        return {**self.seconds, "total": time.monotonic() - self._start}
