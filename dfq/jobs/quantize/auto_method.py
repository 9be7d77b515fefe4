"""`auto`: which method is best for this network, these bits and this time, and why."""

from dataclasses import dataclass, replace

from dfq.calibration.methods import AUTO
from dfq.images.input_spec import is_large
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.scheme import KERNEL_BITS
from dfq.teacher import Teacher

TOO_SHORT = 30.0  # seconds: below, there is no time for images worth learning from
# With fewer large images than this, block reconstruction overfits, and 6 bits and more do better without it
# (decision record 0017).
MIN_LARGE, WIDE = 128, 6


@dataclass(frozen=True)
class MethodChoice:
    """A method and the reason for it, in one line."""

    method: str
    reason: str


def choose(teacher: Teacher, settings: Settings) -> MethodChoice:
    """The first rule that applies; each is backed by a table of the benchmarks (`benchmarks/README.md`)."""
    lowest = settings.make_scheme().lowest_bits
    if settings.budget is not None and settings.budget < TOO_SHORT:
        return MethodChoice("instant", f"{settings.budget:.0f} s are too short to learn anything")
    if settings.steps == 0:
        return MethodChoice("instant", "no training steps were wanted")
    if not teacher.has_batch_norm:
        return MethodChoice("reconstruct", "without BatchNorm, ranges must be learned on images")
    if lowest == KERNEL_BITS and not settings.is_mixed:
        return MethodChoice("instant", "8 bits lose next to nothing without training")
    bits = "mixed" if settings.is_mixed else lowest
    return MethodChoice("reconstruct", f"{bits} bits need learned roundings and ranges")


def resolve(teacher: Teacher, settings: Settings) -> tuple[Settings, str | None]:
    """(the same settings with a method of the table, what was chosen and why); None where a person chose it."""
    if settings.method != AUTO:
        return settings, None
    choice = choose(teacher, settings)
    return replace(settings, method=choice.method), f"auto chose {choice.method}: {choice.reason}"


def reconsider(teacher: Teacher, settings: Settings, reason: str | None, images: int) -> tuple[Settings, str | None]:
    """What `resolve` gave, or another choice where a budget allowed too few images; to be asked once they are made.

    Args:
        reason: of `resolve`; None: a person chose, and that stays.
        images: how many there are.
    """
    is_learned = reason is not None and settings.method == "reconstruct" and teacher.has_batch_norm
    is_wide = settings.make_scheme().lowest_bits >= WIDE and not settings.is_mixed
    if not (is_learned and is_wide and is_large(teacher.input_spec.size) and images < MIN_LARGE):
        return settings, reason
    method, bits = "instant", settings.make_scheme().lowest_bits
    said = f"auto took {method} after all: {images} large images are too few to learn {bits} bits from"
    return replace(settings, method=method), said
