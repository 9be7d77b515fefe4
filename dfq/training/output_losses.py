"""How far the outputs of two networks are apart: by their answers for classifiers, by their values for all others."""

import torch
from torch import Tensor

from dfq.graph.outputs import Outputs, as_tuple, is_whole, other_axes
from dfq.teacher import Teacher
from dfq.training.losses import knowledge_distillation
from dfq.training.shared_work import power_of_batch, variance_of_batch

SMALLEST_SHARE = 1e-4  # A channel's variance counts as at least this share of the power of its output.
SMALLEST = 1e-12


def output_divergence(teacher: Teacher, student: Outputs, target: Outputs, temperature: float = 4.0) -> Tensor:
    """Returns τ²·KL of a classifier's logits in nats, or else the relative squared error of the outputs; a scalar.

    Args:
        teacher: The network that gave `target`; it says whether the outputs are logits.
        student: Outputs of the student.
        target: Outputs of the teacher for the same images.
        temperature: Temperature τ.
    """
    if teacher.is_classifier:
        assert isinstance(student, Tensor) and isinstance(target, Tensor)
        return knowledge_distillation(student, target, temperature)
    return relative_squared_error(student, target)


def relative_squared_error(found: Outputs, expected: Outputs) -> Tensor:
    """Returns Σ(f − e)² ÷ Σ(e − ē)² of each channel, as a mean over the channels and then over the outputs; a scalar.

    ē is the mean of the channel over images and positions, so that a constant part of an output does not make errors
    look small. Every output and every channel weighs alike, apart from channels that hardly vary. Outputs of whole
    numbers have no gradient and are left out.

    Args:
        found: Outputs to be judged.
        expected: Outputs that are right.
    """
    pairs = zip(as_tuple(found), as_tuple(expected), strict=True)
    return torch.stack([_of_channels(*pair).mean() for pair in pairs if not is_whole(pair[1])]).mean()


def _of_channels(found: Tensor, expected: Tensor) -> Tensor:
    """Returns the relative squared error of each channel, (C,)."""
    others = other_axes(expected.shape)
    error = (found.float() - expected.float()).square().mean(others)
    spread = variance_of_batch(expected.float(), others, correction=0)
    least = SMALLEST_SHARE * torch.maximum(spread.mean(), power_of_batch(expected.float()))
    return error / spread.clamp(min=max(float(least), SMALLEST))
