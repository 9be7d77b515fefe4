"""Time limits: `Budget` says how far a stage is, in steps or in seconds, whichever ends first."""

import re
import time

from dfq.errors import DfqError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of "90", "90s", "5m" or "1.5h".

    Raises:
        DfqError: anything else, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([smh]?)\s*", text)
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else 0.0
    if seconds <= 0:
        raise DfqError(f"budget {text!r}", "a positive time", "for example --budget 5m, 90s or 1.5h")
    return seconds


class Budget:
    """A clock with an optional limit, started when made.

    `done(step, steps)` is the fraction of a stage's work that is behind it: the larger one of steps and time. A
    schedule driven by it still reaches its end when the time is what runs out.
    """

    def __init__(self, seconds: float | None = None):
        self.seconds, self._start = seconds, time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def remaining(self) -> float:
        return float("inf") if self.seconds is None else max(self.seconds - self.elapsed(), 0.0)

    def part(self, fraction: float) -> "Budget":
        """A new clock, started now, with that fraction of the remaining time."""
        return Budget(None if self.seconds is None else self.remaining() * fraction)

    def keeping(self, reserve: float, least_share: float) -> "Budget":
        """A new clock, started now, that leaves `reserve` seconds over, but has at least that share of the rest."""
        left = self.remaining()
        return Budget(None if self.seconds is None else max(left - reserve, left * least_share))

    def done(self, step: int, steps: int) -> float:
        by_steps = step / max(steps, 1)
        by_time = 0.0 if self.seconds is None else self.elapsed() / max(self.seconds, 1e-9)
        return min(max(by_steps, by_time), 1.0)
