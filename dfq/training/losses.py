"""The shared loss terms: one function each, named as the field names them.

Logits are (N, classes); a single one counts as those of two classes (`dfq.teacher.answers.two_or_more`).
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from dfq.teacher.answers import two_or_more

SMALLEST = 1e-12  # probability whose logarithm is still taken


def knowledge_distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """τ² · KL(softmax(t/τ) ‖ softmax(s/τ)), `batchmean` (Hinton et al. 2015); logits (N, classes) → scalar, in nats."""
    student = log_softmax(two_or_more(student_logits).float() / temperature, dim=1)
    teacher = softmax(two_or_more(teacher_logits).float() / temperature, dim=1)
    return kl_div(student, teacher, reduction="batchmean") * temperature**2


def label_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """CE(t, y): logits (N, classes), labels (N,) → scalar, in nats."""
    return cross_entropy(two_or_more(logits).float(), labels)


def one_hot(logits: Tensor) -> Tensor:
    """CE(t, ŷ) with ŷ = argmax t: small where the network is sure; logits (N, classes) → scalar ≥ 0, in nats."""
    logits = two_or_more(logits)
    return cross_entropy(logits.float(), logits.argmax(1))


def class_balance(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """−H(p̄) of the batch mean p̄ of softmax(t/τ): −ln C where all classes are alike, 0 where there is one; in nats."""
    mean = softmax(two_or_more(logits).float() / temperature, dim=1).mean(0)
    return (mean * mean.clamp(min=SMALLEST).log()).sum()


def jensen_shannon(logits: Tensor, other: Tensor, temperature: float = 1.0) -> Tensor:
    """Jensen–Shannon divergence of softmax(·/τ), `batchmean`: 0 (the same) to ln 2; logits (N, classes), in nats."""
    first, second = (log_softmax(two_or_more(each).float() / temperature, dim=1) for each in (logits, other))
    middle = ((first.exp() + second.exp()) / 2).clamp(min=SMALLEST).log()
    to_middle = [kl_div(middle, each, reduction="batchmean", log_target=True) for each in (first, second)]
    return torch.stack(to_middle).mean()


def mode_seeking(logits: Tensor, images: Tensor) -> Tensor:
    """Mean of ‖p₂ − p₁‖ / ‖x₂ − x₁‖ over pairs from two half batches: images that differ in what nobody reads.

    Falls as images of like answers part (RDSKD; after MSGAN, Mao et al., CVPR 2019). About 0.02 on 32×32 images: the
    numerator is at most √2, the denominator grows with the number of pixels.
    """
    half = len(images) // 2
    probabilities, pixels = softmax(two_or_more(logits).float(), dim=1), images.float().flatten(1)
    answers = (probabilities[half : 2 * half] - probabilities[:half]).norm(dim=1)
    return (answers / (pixels[half : 2 * half] - pixels[:half]).norm(dim=1).clamp(min=1e-6)).mean()


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
    student_logits, teacher_logits = two_or_more(student_logits), two_or_more(teacher_logits)
    student = log_softmax(student_logits.float() / temperature, dim=1)
    teacher = log_softmax(teacher_logits.float() / temperature, dim=1)  # as logarithm: its gradient is finite at p = 0
    divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    if masked:
        divergence = divergence * (student_logits.argmax(1) == teacher_logits.argmax(1))
    return -divergence.mean()
