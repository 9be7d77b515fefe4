"""`auto` chooses the method for a network, its bits and the time, and says why."""

from dataclasses import dataclass, replace

from dfq.calibration.methods import AUTO
from dfq.images.input_spec import is_large
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.scheme import KERNEL_BITS
from dfq.teacher import Teacher


@dataclass(frozen=True)
class MethodChoice:
    """A method, and the reason for it in one line."""

    method: str
    reason: str


def choose(settings: Settings) -> MethodChoice:
    """Returns the choice of the first rule that applies; each rule rests on a benchmark (`benchmarks/README.md`)."""
    lowest = settings.make_scheme().lowest_bits
    if settings.budget is not None and settings.budget < QUANTIZE_DEFAULTS.too_short:
        return MethodChoice("instant", f"{settings.budget:.0f} s are too short to learn anything")
    if settings.steps == 0:
        return MethodChoice("instant", "no training steps were asked for")
    if lowest == KERNEL_BITS and not settings.is_mixed:
        return MethodChoice("instant", "8 bits lose next to nothing without training")
    bits = "mixed" if settings.is_mixed else lowest
    return MethodChoice("reconstruct", f"{bits} bits need learned roundings and ranges")


def resolve(settings: Settings) -> tuple[Settings, str | None]:
    """Returns the settings with a method of the table instead of `auto`, and a sentence on what was chosen and why.

    The sentence is None where the user chose the method.
    """
    if settings.method != AUTO:
        return settings, None
    choice = choose(settings)
    return replace(settings, method=choice.method), f"auto chose {choice.method}: {choice.reason}"


def reconsider(teacher: Teacher, settings: Settings, reason: str | None, images: int) -> tuple[Settings, str | None]:
    """Returns what `resolve` gave, or another choice where a budget allowed too few images to be made.

    Args:
        teacher: The network that is quantized.
        settings: The settings that `resolve` gave.
        reason: The sentence that `resolve` gave; None: the user chose the method, which stays.
        images: Number of images that were made.
    """
    is_learned = reason is not None and settings.method == "reconstruct"
    is_wide = settings.make_scheme().lowest_bits >= QUANTIZE_DEFAULTS.wide and not settings.is_mixed
    if not (is_learned and is_wide and is_large(teacher.input_spec.size) and images < QUANTIZE_DEFAULTS.few_large):
        return settings, reason
    method, bits = "instant", settings.make_scheme().lowest_bits
    said = f"auto took {method} after all: {images} large images are too few to learn {bits} bits from"
    return replace(settings, method=method), said
