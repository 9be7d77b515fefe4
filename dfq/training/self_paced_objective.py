"""AdaDFKD's student phase: easy samples first (Li et al., Neural Networks 2024)."""

from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor, fx
from torch.nn.functional import kl_div, log_softmax, softmax

from dfq.graph.features import features_of
from dfq.images.batch import Batch
from dfq.teacher import Teacher
from dfq.teacher.answers import two_or_more
from dfq.training.contrastive_loss import directions, info_nce


@dataclass(frozen=True, kw_only=True)
class SelfPacedDistillation:
    """Σ v·(τ²·KL + weight · InfoNCE), where v is small for samples that are still hard.

    InfoNCE contrasts a sample's penultimate features in the teacher (query) and in the student (positive) with the
    student's features of the other samples in the batch. v = (1 + e^−λ) / (1 + e^(ℓ−λ)) carries no gradient; it is 1
    at ℓ = 0 and falls beyond λ = start + growth · step.

    Deviations: v is taken for each sample, as the paper writes it; the released code has one v for the whole batch,
    which only changes the step size. ℓ counts the KL in nats, without τ²: the published λ of 1 to 2.2 are in that
    range, and with τ² a student that knows nothing yet would have v ≈ e^−10 and hardly ever start.

    Attributes:
        temperature: Temperature τ.
        contrast_weight: Weight of InfoNCE.
        contrast_temperature: Temperature of InfoNCE.
        start: Limit λ at the first step. Published values are 1.0 to 2.2.
        growth: What each step adds to λ. Published values are 1e-4 on CIFAR-10 and else 2e-5.
        per_sample: Whether each sample has a v of its own; if not, the batch has one v, as in the released code.
    """

    temperature: float = 3.0
    contrast_weight: float = 0.1
    contrast_temperature: float = 0.07
    start: float = 1.5
    growth: float = 1e-4
    per_sample: bool = True

    def __call__(self, student: fx.GraphModule, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        with torch.no_grad():
            target = teacher.features(batch.images)
        features = features_of(student)(batch.images)
        answers = log_softmax(two_or_more(features.logits).float() / self.temperature, dim=1)
        wanted = softmax(two_or_more(target.logits).float() / self.temperature, dim=1)
        divergence = kl_div(answers, wanted, reduction="none").sum(1)
        contrast = _contrast(features.penultimate, target.penultimate, self.contrast_temperature)
        contrast = self.contrast_weight * contrast
        weight = self.weight((divergence + contrast).detach(), batch.step)
        return {"kd": (weight * divergence).mean() * self.temperature**2, "contrast": (weight * contrast).mean()}

    def weight(self, losses: Tensor, step: int) -> Tensor:
        """Returns v of losses (N,) ≥ 0 in nats: (N,) in (0, 1], or () where the batch has a common one."""
        losses = losses if self.per_sample else losses.mean()
        limit = self.start + self.growth * step
        return (1 + exp(-limit)) * torch.sigmoid(limit - losses)


def _contrast(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Returns InfoNCE of each sample, (N,), for penultimate features (N, D_S) and (N, D_T)."""
    queries, keys = directions(teacher, teacher.shape[1]), directions(student, teacher.shape[1])
    return info_nce(queries @ keys.T, torch.arange(len(queries), device=queries.device), temperature)
