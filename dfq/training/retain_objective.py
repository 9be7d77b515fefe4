"""Retain-while-Acquiring's student phase: what is learned now must not undo what was (Patel et al., CVPR 2023)."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from dfq.images.batch import Batch
from dfq.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class RetainingDistillation:
    """L_acq(θ) + L_ret(θ) + L_ret(θ′), θ′ = θ − α∇L_acq(θ); L is the mean absolute difference of the logits.

    The first half of a batch is new (acquisition), the second half is remembered (retention):
    `dfq.calibration.generators.retain` puts them together. To first order the last term adds −α⟨∇L_acq, ∇L_ret⟩: the
    two gradients are asked to agree.
    Published: arXiv 2302.14290, α 0.9.

    Deviations: the released code cuts the gradient of L_ret(θ′), so that it is plain replay; here it goes through θ′
    (and through its gradient: the backward pass of the student is differentiated). The half batches keep the student
    at as many images per step as every other method has. Statistics of BatchNorm layers do not learn at θ′.

    Attributes:
        inner_rate: α. Of a size with the optimizer's: 0.9 beside SGD at 0.1.
        replay_only: without the last term, as the released code computes.
    """

    inner_rate: float = 0.9
    replay_only: bool = False

    def __call__(self, student: fx.GraphModule, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        # In float32: second derivatives of bfloat16 are of no use.
        with torch.autocast(batch.images.device.type, enabled=False):
            with torch.no_grad():
                targets = teacher(batch.images).chunk(2)
            images = batch.images.chunk(2)
            acquisition, retention = (_difference(student(x), t) for x, t in zip(images, targets, strict=True))
            losses = {"acquisition": acquisition, "retention": retention}
            if self.replay_only:
                return losses
            moved = _moved(student, acquisition, self.inner_rate)
            statistics = {name: buffer.clone() for name, buffer in student.named_buffers()}
            logits = functional_call(student, moved | statistics, (images[1],))
            return losses | {"retention_after": _difference(logits, targets[1])}


def _difference(logits: Tensor, target: Tensor) -> Tensor:
    return (logits - target).abs().mean()


def _moved(student: nn.Module, loss: Tensor, rate: float) -> dict[str, Tensor]:
    """Every learned parameter after one gradient step against `loss`, by name; differentiable."""
    learned = {name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(loss, list(learned.values()), create_graph=True, allow_unused=True)
    return {
        name: parameter if gradient is None else parameter - rate * gradient
        for (name, parameter), gradient in zip(learned.items(), gradients, strict=True)
    }
