"""What is done to a student and its teacher before ranges are calibrated: rewritings that change no result.

A `Preparation` changes the student in place, before any range is known, and returns the teacher rewritten alike, so
that blocks of both still compute the same tensors.
"""

from collections.abc import Callable

from torch import Tensor, fx

from dfq.depthwise_inputs import fill_depthwise_inputs
from dfq.teacher import Teacher
from dfq.turned_streams import turn_linear_streams

LOOKED_AT = 64  # images that say how wide channels and streams are

Preparation = Callable[[fx.GraphModule, Teacher, Tensor], Teacher]
"""(student, teacher, normalised images (N, C, H, W)) → the teacher, rewritten like the student."""


def fill_as_expected(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """Channels that depthwise layers read end where BatchNorm lets expect; looks at no image."""
    return fill_depthwise_inputs(student, teacher)


def fill_as_seen(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """They end where images say: of use on plausible ones only."""
    return fill_depthwise_inputs(student, teacher, images[:LOOKED_AT])


def turn_streams(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """Linear streams are turned until all their channels are as wide."""
    return turn_linear_streams(student, teacher, images[:LOOKED_AT])
