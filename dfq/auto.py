"""`auto`: which method is best for this network, these bits and this time, and why."""

from dataclasses import dataclass, replace

from dfq.calibration.methods import AUTO
from dfq.scheme import EIGHT
from dfq.settings import Settings
from dfq.teacher import Teacher

TOO_SHORT = 30.0  # seconds: below, there is no time for images worth learning from


@dataclass(frozen=True)
class Choice:
    """A method and the reason for it, in one line."""

    method: str
    reason: str


def choose(teacher: Teacher, settings: Settings) -> Choice:
    """The first rule that applies; each is backed by a table of the benchmarks (`benchmarks/README.md`)."""
    lowest = settings.make_scheme().lowest_bits
    if settings.budget is not None and settings.budget < TOO_SHORT:
        return Choice("instant", f"{settings.budget:.0f} s are too short to learn anything")
    if settings.steps == 0:
        return Choice("instant", "no training steps were wanted")
    if not teacher.has_batch_norm:
        return Choice("reconstruct", "without BatchNorm, ranges must be learned on images")
    if lowest == EIGHT and not settings.is_mixed:
        return Choice("instant", "8 bits lose next to nothing without training")
    bits = "mixed" if settings.is_mixed else lowest
    return Choice("reconstruct", f"{bits} bits need learned roundings and ranges")


def resolve(teacher: Teacher, settings: Settings) -> tuple[Settings, str | None]:
    """(the same settings with a method of the table, what was chosen and why); None where a person chose it."""
    if settings.method != AUTO:
        return settings, None
    choice = choose(teacher, settings)
    return replace(settings, method=choice.method), f"auto chose {choice.method}: {choice.reason}"
