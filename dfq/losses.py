"""The shared loss terms: one function each, named as the field names them."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax


def knowledge_distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """τ² · KL(softmax(t/τ) ‖ softmax(s/τ)), `batchmean` (Hinton et al. 2015); logits (N, classes) → scalar, in nats."""
    student = log_softmax(student_logits.float() / temperature, dim=1)
    teacher = softmax(teacher_logits.float() / temperature, dim=1)
    return kl_div(student, teacher, reduction="batchmean") * temperature**2


def label_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """CE(t, y): logits (N, classes), labels (N,) → scalar, in nats."""
    return cross_entropy(logits.float(), labels)


def total_variation(pixels: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels (N, C, H, W) → scalar, in units of the pixels."""
    rows = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean()
    columns = (pixels[:, :, :, 1:] - pixels[:, :, :, :-1]).abs().mean()
    return rows + columns


def input_prior(images: Tensor) -> Tensor:
    """ZeroQ's prior: squared distance of each channel's mean and standard deviation to 0 and 1 (normalised images)."""
    images = images.float()
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    return mean.square().mean() + (std - 1).square().mean()


def saturation(pixel_logits: Tensor) -> Tensor:
    """Mean squared pre-sigmoid value: keeps pixels away from pure black and white."""
    return torch.mean(pixel_logits.square())


def disagreement(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, *, masked: bool = False
) -> Tensor:
    """−KL(softmax(t/τ) ‖ softmax(s/τ)): falls as the networks part; logits (N, classes) → scalar ≤ 0, in nats.

    Args:
        masked: count only samples on whose class both agree (RGAL, CMI); the mean stays over all N.
    """
    student = log_softmax(student_logits.float() / temperature, dim=1)
    teacher = log_softmax(teacher_logits.float() / temperature, dim=1)  # as logarithm: its gradient is finite at p = 0
    divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    if masked:
        divergence = divergence * (student_logits.argmax(1) == teacher_logits.argmax(1))
    return -divergence.mean()
