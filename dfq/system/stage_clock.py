"""Seconds of each stage of a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Started when made; `seconds` maps each stage to what it has taken so far: four always, others where they ran."""

    def __init__(self):
        self.seconds: dict[str, float] = dict.fromkeys(("synthesis", "training", "export", "validation"), 0.0)
        self._start = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    def move(self, source: str, target: str, seconds: float) -> None:
        """Charges `target` with seconds that were measured within `source`."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def to_dict(self) -> dict[str, float]:
        return {**self.seconds, "total": time.monotonic() - self._start}
