"""What is done to a student and its teacher before ranges are calibrated: rewritings that change no result.

A `Preparation` changes the student in place, before any range is known, and returns the teacher rewritten alike, so
that blocks of both still compute the same tensors. `prepare` runs those of a method, compares each result with what it
was made from, and undoes what changed an answer.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.graph.layer_outputs import matrix_calls
from dfq.post_training.equalization.cross_layer import equalize
from dfq.post_training.equalization.depthwise import fill_depthwise_inputs
from dfq.post_training.rotation.rotate import rotate_linear_streams
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher

LOOKED_AT = 64  # images that say how wide channels and streams are
COMPARED = 16  # images that both teachers are run on, and as much noise
TOLERANCE = 1e-3  # of the spread of the teacher's logits: rounding in floating point stays far below it

Preparation = Callable[[fx.GraphModule, Teacher, Tensor], Teacher]
"""(student, teacher, normalised images (N, C, H, W)) → the teacher, rewritten like the student."""


def fill_as_expected(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """Clips each channel that a depthwise layer reads at the range that BatchNorm's statistics predict."""
    return fill_depthwise_inputs(student, teacher)


def fill_as_seen(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """Clips each channel that a depthwise layer reads at the range that images show; the images must be plausible."""
    return fill_depthwise_inputs(student, teacher, images[:LOOKED_AT])


def rotate_streams(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """Rotates linear residual streams until all their channels are equally wide."""
    return rotate_linear_streams(student, teacher, images[:LOOKED_AT])


def equalize_channels(student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
    """Rescales channels in front of any layer, where that makes rounding clearly cheaper."""
    return equalize(student, teacher, images[:LOOKED_AT])


def prepare(
    student: fx.GraphModule,
    teacher: Teacher,
    images: Tensor,
    preparations: Sequence[Preparation],
    progress: Progress | None = None,
) -> tuple[Teacher, list[str]]:
    """Rewrites both networks step by step; returns (the teacher as rewritten, a sentence for each step undone).

    A step is undone where the rewritten teacher answers otherwise than the one before, or where the student's layers
    are not the rewritten teacher's.

    Args:
        student: of `dfq.student.convert.make_student`; changed in place.
        images: normalised, (N, C, H, W).
    """
    notes = []
    for preparation in preparations:
        before = _State.of(student)
        other = preparation(student, teacher, images)
        if (reason := _fault(student, other, teacher, images)) is None:
            teacher = other
            continue
        before.restore(student)
        notes.append(f"{_name(preparation)} was undone: {reason}")
        (progress or Silent()).note(notes[-1])
    return teacher, notes


def _name(preparation: Preparation) -> str:
    return getattr(preparation, "__name__", type(preparation).__name__).replace("_", " ")


def _fault(student: fx.GraphModule, other: Teacher, teacher: Teacher, images: Tensor) -> str | None:
    """What is wrong with a rewritten pair, in words; None: nothing."""
    off = 0.0 if other is teacher else difference(other, teacher, images)
    if not off <= TOLERANCE:  # also where it is not a number
        return f"the rewritten network's answers differed by {off:.2g} of the spread of the original's"
    different = [name for name in matrix_calls(other.traced) if not _same_layer(student, other.traced, name)]
    return f"the student's {different[0]} was no longer the teacher's" if different else None


@torch.no_grad()
def difference(other: Teacher, teacher: Teacher, images: Tensor, *, seed: int = 0) -> float:
    """How far two networks' logits are apart, on some images and on noise ÷ how far the second one's are spread."""
    images = images[:COMPARED]
    pixels = torch.rand(len(images), *images.shape[1:], generator=torch.Generator().manual_seed(seed))
    both = torch.cat([images, teacher.input_spec.normalize(pixels.to(images.device))])
    wanted, found = teacher(both).double(), other(both).double()
    return float((found - wanted).norm() / (wanted - wanted.mean(0)).norm().clamp(min=1e-12))


def _same_layer(student: fx.GraphModule, reference: fx.GraphModule, name: str) -> bool:
    own, wanted = (dict(network.get_submodule(name).named_parameters()) for network in (student, reference))
    return all(torch.allclose(own[part], tensor, rtol=1e-4, atol=1e-6) for part, tensor in wanted.items())


@dataclass(frozen=True)
class _State:
    """What a preparation may change in a student: its tensors, and what its nodes remember."""

    tensors: dict[str, Tensor]
    metas: dict[str, dict]

    @classmethod
    def of(cls, student: fx.GraphModule) -> "_State":
        tensors = {name: tensor.detach().clone() for name, tensor in student.state_dict().items()}
        return cls(tensors, {node.name: copy.copy(node.meta) for node in student.graph.nodes})

    def restore(self, student: fx.GraphModule) -> None:
        student.load_state_dict(self.tensors)
        for node in student.graph.nodes:
            node.meta = self.metas[node.name]
