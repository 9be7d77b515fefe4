"""What the student minimises: an `Objective` maps (student, batch, teacher) to named losses, whose sum is trained."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfq.batch import Batch
from dfq.losses import knowledge_distillation
from dfq.teacher import Teacher

Objective = Callable[[nn.Module, Batch, Teacher], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation:
    """Plain distillation: τ²·KL of the logits and no cross-entropy (drawn labels only pull the student off; AIT 2022).

    Attributes:
        temperature: τ. 4 keeps the small logits in play without drowning the large ones.
    """

    temperature: float = 4.0

    def __call__(self, student: nn.Module, batch: Batch, teacher: Teacher) -> dict[str, Tensor]:
        with torch.no_grad():
            target = teacher(batch.images)
        return {"kd": knowledge_distillation(student(batch.images), target, self.temperature)}
