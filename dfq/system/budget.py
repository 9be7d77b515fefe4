"""Time limits: `Budget` says how far a stage has come, in steps or in seconds, whichever ends first."""

import re
import time

from dfq.errors import DfqError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Returns the seconds of a text such as "90", "90s", "5m" or "1.5h".

    Raises:
        DfqError: The text is no such time, or the time is not positive.
    """
    match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{0,12})?)\s*([smh]?)\s*", text)
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else 0.0
    if seconds <= 0:
        raise DfqError(f"budget {text!r}", "a positive time", "for example --budget 5m, 90s or 1.5h")
    return seconds


def duration_text(seconds: float) -> str:
    """Returns a text such as "50 s", "12 min", "3.5 h" or "4,000 days"."""
    for most, unit, name in ((90.0, 1.0, "s"), (5400.0, 60.0, "min")):
        if seconds < most:
            return f"{seconds / unit:.0f} {name}"
    hours = seconds / UNITS["h"]
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


class Budget:
    """A clock with an optional limit, which starts when it is made.

    `done(step, steps)` is the fraction of a stage's work that is done: that of its steps or that of its time, whichever
    is larger. A schedule that follows it reaches its end even when the time runs out first.

    Args:
        seconds: The limit; None: there is none.
        spent: Seconds of it that were spent before the start.
    """

    def __init__(self, seconds: float | None = None, spent: float = 0.0):
        self.seconds, self._start = seconds, time.monotonic() - spent

    def elapsed(self) -> float:
        """Returns the seconds since the start, and those that were spent before."""
        return time.monotonic() - self._start

    def remaining(self) -> float:
        """Returns the seconds that are left, at least 0; infinity without a limit."""
        return float("inf") if self.seconds is None else max(self.seconds - self.elapsed(), 0.0)

    def part(self, fraction: float) -> "Budget":
        """Returns a new clock that starts now and has that fraction of the remaining time."""
        return Budget(None if self.seconds is None else self.remaining() * fraction)

    def keeping(self, reserve: float) -> "Budget":
        """Returns a new clock that starts now and has the remaining time without a reserve in seconds, at least 0."""
        return Budget(None if self.seconds is None else max(self.remaining() - reserve, 0.0))

    def done(self, step: int, steps: int) -> float:
        """Returns the fraction of the work that is done after `step` of `steps` steps, in [0, 1]."""
        by_steps = step / max(steps, 1)
        by_time = 0.0 if self.seconds is None else self.elapsed() / max(self.seconds, 1e-9)
        return min(max(by_steps, by_time), 1.0)
