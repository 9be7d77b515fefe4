"""`Clock` measures how long each stage of a run takes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """A clock that starts when it is made.

    Args:
        before: What `to_dict` returned in an earlier life of the same run, whose seconds count; None: there was none.

    Attributes:
        seconds: Seconds that each stage has taken so far, by name. Four stages are always there, others where they ran.
    """

    def __init__(self, before: Mapping[str, float] | None = None):
        taken = {name: float(seconds) for name, seconds in (before or {}).items()}
        self._start = time.monotonic() - taken.pop("total", 0.0)
        self.seconds = dict.fromkeys(("synthesis", "training", "export", "validation"), 0.0) | taken
        self._running: tuple[str, float] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to the stage of that name."""
        self._running = name, time.monotonic()
        yield
        self.seconds, self._running = self._so_far(), None

    def move(self, source: str, target: str, seconds: float) -> None:
        """Takes seconds that were measured within `source` from it, and adds them to `target`."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def to_dict(self) -> dict[str, float]:
        """Returns the seconds of each stage, the running one included, and those since the start as `total`."""
        return {**self._so_far(), "total": self.elapsed()}

    def elapsed(self) -> float:
        """Returns the seconds since the start, those of earlier lives included."""
        return time.monotonic() - self._start

    def _so_far(self) -> dict[str, float]:
        if self._running is None:
            return self.seconds
        name, start = self._running
        return self.seconds | {name: self.seconds.get(name, 0.0) + time.monotonic() - start}
