"""The student of a distillation: a network of any architecture with the weights that it starts from."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.jobs.distill.inherit import inherit
from dfq.models.registry import build
from dfq.teacher import Teacher

WAY_OUT = "choose another --student: any name that --arch takes, or a factory of yours, net.py:make_student"


@dataclass(frozen=True)
class FloatStudent:
    """One network in two forms, which share every layer.

    Attributes:
        arch: Name by which the network can be built.
        model: The network.
        graph: Its captured graph, from which objectives read features, and which the trainer trains.
        inherited: Whether the network starts from layers of the teacher.
    """

    arch: str
    model: nn.Module
    graph: fx.GraphModule
    inherited: bool = False

    @property
    def parameter_count(self) -> int:
        return count_parameters(self.model)


def build_student(arch: str, teacher: Teacher, seed: int, *, from_teacher: bool = False) -> FloatStudent:
    """Builds the network `arch` for the teacher's images and classes, on the teacher's device.

    Args:
        arch: Architecture of the student.
        teacher: The teacher.
        seed: Seed of the random weights.
        from_teacher: Whether the network starts from layers of the teacher where these fit
            (`dfq.jobs.distill.inherit`).

    Raises:
        DfqError: The architecture is unknown, or it does not take the teacher's images or give the teacher's classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(arch, teacher.num_classes).to(teacher.device)
    classes = _answers(model, teacher, arch).shape[-1]
    if classes != teacher.num_classes:
        raise DfqError(f"student {arch} with {classes} classes", f"the teacher's {teacher.num_classes}", WAY_OUT)
    graph = capture(model, teacher.input_spec, trains=True)
    inherited = from_teacher and inherit(model, teacher.original)
    return FloatStudent(arch, model, graph.requires_grad_(True), inherited)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def _answers(model: nn.Module, teacher: Teacher, arch: str) -> Tensor:
    """Returns the logits of two blank images.

    They are asked for before the network is captured, because a message of the capture would blame the input size.
    """
    images = torch.zeros(2, *teacher.input_spec.size, device=teacher.device)
    try:
        return model.eval()(images)
    except Exception as error:
        size = "x".join(map(str, teacher.input_spec.size))
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DfqError(
            f"student {arch}, which rejects images of {size}: {reason}", "a network for the teacher's images", WAY_OUT
        ) from error
