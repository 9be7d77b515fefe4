"""What a run within a time budget keeps for its end: both files, their validation, and the report.

The end cannot be cut short, so its time is estimated from two measurements on this machine: how long the network took
to be captured, to which the time of writing it is in proportion, and how long an image takes to pass through it.
"""

import time
from dataclasses import dataclass
from math import ceil

import torch

from dfq.errors import DfqError
from dfq.export.writing.write import is_written_directly
from dfq.system.budget import Budget
from dfq.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class FinishingSettings:
    """How the time of the end follows from what is measured.

    Attributes:
        captures: Time of writing both files in one pass each, as a multiple of that of capturing the network.
        captures_traced: The same where torch's exporter writes them.
        passes: Number of passes through the teacher that take as long as everything that is done with a held-out image.
        passes_given: The same for an image that the user gave, on which the networks are compared alone.
        seconds: Seconds for what depends on neither: latencies, plots and the report.
        images: Number of images in the pass that is measured.
        spare: A refusal names a budget that is larger than the least one by this factor.
    """

    captures: float = 1.0
    captures_traced: float = 4.0
    passes: float = 20.0
    passes_given: float = 6.0
    seconds: float = 3.0
    images: int = 4
    spare: float = 1.2


FINISHING_SETTINGS = FinishingSettings()


def seconds_to_finish(
    teacher: Teacher, held_out: int, given: int = 0, *, settings: FinishingSettings = FINISHING_SETTINGS
) -> float:
    """Returns the seconds that the end of a run will probably take.

    Args:
        teacher: The network.
        held_out: Number of held-out synthetic images.
        given: Number of labelled images and pictures that the user gave.
        settings: How the time follows from what is measured.
    """
    each = _pass_seconds(teacher, settings.images)
    passes = settings.passes * held_out + settings.passes_given * given
    captures = (
        settings.captures if is_written_directly(teacher.traced, teacher.input_spec) else settings.captures_traced
    )
    return settings.seconds + captures * teacher.capture_seconds + passes * each


def check_feasible(budget: Budget, to_finish: float, *, settings: FinishingSettings = FINISHING_SETTINGS) -> None:
    """Raises `DfqError` where a budget ends before a run could, even if it made no images and learned nothing.

    Args:
        budget: The budget of the run, whose clock is running.
        to_finish: Seconds that the end of the run takes.
        settings: How much larger a budget is named.
    """
    least = budget.elapsed() + to_finish
    if budget.seconds is not None and budget.seconds < least:
        raise DfqError(
            f"a budget of {budget.seconds:g} s",
            f"at least {ceil(least)} s for this network on this machine: the files, their validation and the report "
            f"take about {to_finish:.0f} s",
            f"--budget {ceil(settings.spare * least)}s; what exceeds {ceil(least)} s is for images and learning",
        )


@torch.no_grad()
def _pass_seconds(teacher: Teacher, count: int) -> float:
    """Returns the seconds that an image takes through the teacher, where `count` are passed together."""
    images = torch.zeros(count, *teacher.input_spec.size, device=teacher.device)
    teacher(images)  # The first pass also allocates memory.
    start = time.monotonic()
    teacher(images)
    return (time.monotonic() - start) / count
