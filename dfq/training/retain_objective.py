"""Retain-while-Acquiring's student phase: what is learned now must not undo what was (Patel et al., CVPR 2023)."""

from collections.abc import Mapping, Sequence
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
    `dfq.calibration.generators.retain` puts them together. To first order the last term adds −α⟨∇L_acq, ∇L_ret⟩, which
    asks the two gradients to agree. It was published in arXiv 2302.14290, with α 0.9.

    Deviations: the released code cuts the gradient of L_ret(θ′), so that it is plain replay; here it goes through θ′
    (and through its gradient: the backward pass of the student is differentiated). A batch has as many images as with
    every other method, although it is halved. Statistics of BatchNorm layers do not learn at θ′.

    Attributes:
        inner_multiple: Rate α of the inner gradient step, in multiples of the optimizer's learning rate at that step.
            The published 0.9 stands beside SGD at 0.1. With a fixed α, the rate of a student of many bits is so much
            smaller that θ′ is no student any more.
        tolerated: L_ret(θ′), in multiples of L_ret(θ), from which on the report says that θ′ is no student.
        replay_only: Whether the last term is left out, as in the released code.
    """

    inner_multiple: float = 9.0
    tolerated: float = 2.0
    replay_only: bool = False

    def __call__(self, student: fx.GraphModule, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        # Everything is computed in float32, because second derivatives in bfloat16 are of no use.
        with torch.autocast(batch.images.device.type, enabled=False):
            with torch.no_grad():
                targets = teacher(batch.images).chunk(2)
            images = batch.images.chunk(2)
            acquisition, retention = (_difference(student(x), t) for x, t in zip(images, targets, strict=True))
            losses = {"acquisition": acquisition, "retention": retention}
            if self.replay_only:
                return losses
            moved = _moved(student, acquisition, self.inner_multiple * batch.learning_rate)
            statistics = {name: buffer.clone() for name, buffer in student.named_buffers()}
            logits = functional_call(student, moved | statistics, (images[1],))
            return losses | {"retention_after": _difference(logits, targets[1])}

    def doubts(self, records: Sequence[Mapping[str, float]]) -> list[str]:
        """Returns a sentence for the report where the inner step broke the student; `records` are those of training."""
        ratios = [
            record["retention_after"] / record["retention"]
            for record in records
            if record.get("retention_after") and record["retention"]
        ]
        if not ratios or max(ratios) <= self.tolerated:
            return []
        return [
            f"the inner step of Retain-while-Acquiring raised its loss to {max(ratios):.1f} times: what it looks ahead "
            "to is no student, and a smaller inner_multiple may do better"
        ]


def _difference(logits: Tensor, target: Tensor) -> Tensor:
    """Returns the mean absolute difference of two sets of logits (N, classes)."""
    return (logits - target).abs().mean()


def _moved(student: nn.Module, loss: Tensor, rate: float) -> dict[str, Tensor]:
    """Returns every learned parameter after one gradient step against `loss`, by name; differentiable."""
    learned = {name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad}
    gradients = torch.autograd.grad(loss, list(learned.values()), create_graph=True, allow_unused=True)
    return {
        name: parameter if gradient is None else parameter - rate * gradient
        for (name, parameter), gradient in zip(learned.items(), gradients, strict=True)
    }
