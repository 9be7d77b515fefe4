"""The loss terms that several methods share: one function each, under the name that is common in the field.

Logits are (N, classes); a single one counts as those of two classes (`dfq.teacher.answers.two_or_more`).
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from dfq.teacher.answers import two_or_more

SMALLEST = 1e-12  # The smallest probability whose logarithm is taken.


def knowledge_distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Returns τ² · KL(softmax(t/τ) ‖ softmax(s/τ)), averaged over the batch (Hinton et al. 2015); a scalar in nats.

    Args:
        student_logits: Logits s, (N, classes).
        teacher_logits: Logits t, (N, classes).
        temperature: Temperature τ.
    """
    student = log_softmax(two_or_more(student_logits).float() / temperature, dim=1)
    teacher = softmax(two_or_more(teacher_logits).float() / temperature, dim=1)
    return kl_div(student, teacher, reduction="batchmean") * temperature**2


def label_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of logits (N, classes) and labels (N,); a scalar in nats."""
    return cross_entropy(two_or_more(logits).float(), labels)


def one_hot(logits: Tensor) -> Tensor:
    """Returns CE(t, argmax t) of logits t (N, classes), which is small where the network is sure; a scalar in nats."""
    logits = two_or_more(logits)
    return cross_entropy(logits.float(), logits.argmax(1))


def class_balance(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns −H(p̄) of the mean p̄ of softmax(t/τ) over the batch, for logits t (N, classes); a scalar in nats.

    It is −ln C where all C classes are equally frequent, and 0 where there is one class only.
    """
    mean = softmax(two_or_more(logits).float() / temperature, dim=1).mean(0)
    return (mean * mean.clamp(min=SMALLEST).log()).sum()


def jensen_shannon(logits: Tensor, other: Tensor, temperature: float = 1.0) -> Tensor:
    """Returns the Jensen–Shannon divergence of softmax(·/τ) of two sets of logits (N, classes), as a mean over N.

    It is a scalar from 0, for equal answers, to ln 2, in nats.
    """
    first, second = (log_softmax(two_or_more(each).float() / temperature, dim=1) for each in (logits, other))
    middle = ((first.exp() + second.exp()) / 2).clamp(min=SMALLEST).log()
    to_middle = [kl_div(middle, each, reduction="batchmean", log_target=True) for each in (first, second)]
    return torch.stack(to_middle).mean()


def mode_seeking(logits: Tensor, images: Tensor) -> Tensor:
    """Returns the mean of ‖p₂ − p₁‖ / ‖x₂ − x₁‖ over pairs from the two halves of a batch; a scalar.

    It falls as images of like answers become more different (RDSKD; after MSGAN, Mao et al., CVPR 2019). It is about
    0.02 on 32×32 images: the numerator is at most √2, and the denominator grows with the number of pixels.

    Args:
        logits: Logits (N, classes), whose softmax is p.
        images: Images x, (N, C, H, W).
    """
    half = len(images) // 2
    probabilities, pixels = softmax(two_or_more(logits).float(), dim=1), images.float().flatten(1)
    answers = (probabilities[half : 2 * half] - probabilities[:half]).norm(dim=1)
    return (answers / (pixels[half : 2 * half] - pixels[:half]).norm(dim=1).clamp(min=1e-6)).mean()


def total_variation(pixels: Tensor) -> Tensor:
    """Returns the mean absolute difference of neighbouring pixels (N, C, H, W); a scalar in units of the pixels."""
    rows = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean()
    columns = (pixels[:, :, :, 1:] - pixels[:, :, :, :-1]).abs().mean()
    return rows + columns


def input_prior(images: Tensor) -> Tensor:
    """Returns ZeroQ's prior on normalised images (N, C, H, W): how far their moments are from 0 and 1; a scalar.

    It is the squared distance of each channel's mean to 0 plus that of its standard deviation to 1, averaged over the
    channels.
    """
    images = images.float()
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    return mean.square().mean() + (std - 1).square().mean()


def saturation(pixel_logits: Tensor) -> Tensor:
    """Returns the mean squared value in front of the sigmoid, which keeps pixels away from pure black and white."""
    return torch.mean(pixel_logits.square())


def disagreement(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, *, masked: bool = False
) -> Tensor:
    """Returns −KL(softmax(t/τ) ‖ softmax(s/τ)), which falls as the networks disagree more; a scalar ≤ 0, in nats.

    Args:
        student_logits: Logits s, (N, classes).
        teacher_logits: Logits t, (N, classes).
        temperature: Temperature τ.
        masked: Whether only samples count on whose class both networks agree (RGAL, CMI). The mean is over all N.
    """
    student_logits, teacher_logits = two_or_more(student_logits), two_or_more(teacher_logits)
    student = log_softmax(student_logits.float() / temperature, dim=1)
    # The teacher's term is a logarithm, too, because its gradient is finite at p = 0.
    teacher = log_softmax(teacher_logits.float() / temperature, dim=1)
    divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    if masked:
        divergence = divergence * (student_logits.argmax(1) == teacher_logits.argmax(1))
    return -divergence.mean()
