"""What became of one input: it was read, or refused with one clear error, within bounds of time and memory."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dfq.errors import DfqError

MOST_SECONDS = 10  # of processor time
MOST_BYTES = 10**9  # beyond what the process had before
STATUS, PEAKS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Attributes:
        is_read: Whether it was read; else it was refused.
        seconds: Processor time.
        memory: Bytes of memory at the peak, beyond what the process had before.
    """

    is_read: bool
    seconds: float
    memory: int


def attempt(action: Callable[[], object]) -> Outcome:
    """Runs a reader; anything else than a result or a clear `DfqError`, within bounds, fails the test."""
    with suppress(OSError):  # From now on, the peak counts anew.
        PEAKS.write_text("5")
    before, start = _memory("VmRSS"), time.process_time()
    is_read = True
    try:
        action()
    except DfqError as error:
        is_read = False
        assert error.found and error.needed and error.exit_code in (1, 2), error
        assert "\x1b" not in str(error) and len(str(error)) < 10_000, error
    outcome = Outcome(is_read, time.process_time() - start, max(_memory("VmHWM") - before, 0))
    assert outcome.seconds < MOST_SECONDS and outcome.memory < MOST_BYTES, outcome
    return outcome


def _memory(key: str) -> int:
    """Returns the memory of this process now (`VmRSS`), or at its peak (`VmHWM`)."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1]) * 1024
    except OSError:  # There is no such file outside of Linux.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
