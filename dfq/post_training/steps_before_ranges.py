"""What is done to a student and its teacher before ranges are calibrated: rewritings that change no result.

A `Preparation` changes the student in place, before any range is known, and returns the teacher rewritten alike, so
that blocks of both still compute the same tensors. `prepare` runs those of a method, compares each result with what it
was made from, and undoes what changed an answer.
"""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.outputs import as_tuple, is_whole
from dfq.post_training.equalization.cross_layer import equalize
from dfq.post_training.equalization.depthwise import fill_depthwise_inputs
from dfq.post_training.equalization.norms import rescale_norms
from dfq.post_training.equalization.settings import CrossLayerSettings, DepthwiseSettings, NormSettings
from dfq.post_training.rotation.rotate import rotate_linear_streams
from dfq.post_training.rotation.settings import RotationSettings
from dfq.post_training.settings import PreparationSettings
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher

Preparation = Callable[[fx.GraphModule, Teacher, Tensor], Teacher]
"""Takes the student, the teacher and normalised images (N, C, H, W); returns the teacher, rewritten like the student.

It may be an object or a function. Notes call it by the name of its class or function.
"""


@dataclass(frozen=True)
class FillAsExpected:
    """Clips each channel that a depthwise layer reads at the range that BatchNorm's statistics predict.

    Attributes:
        settings: Settings of the equalization in front of depthwise layers.
    """

    settings: DepthwiseSettings = DepthwiseSettings()

    def __call__(self, student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
        return fill_depthwise_inputs(student, teacher, settings=self.settings)


@dataclass(frozen=True)
class FillAsSeen:
    """Clips each channel that a depthwise layer reads at the range that images show; the images must be plausible.

    Attributes:
        settings: Settings of the equalization in front of depthwise layers.
    """

    settings: DepthwiseSettings = DepthwiseSettings()

    def __call__(self, student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
        return fill_depthwise_inputs(student, teacher, images, settings=self.settings)


@dataclass(frozen=True)
class RotateStreams:
    """Rotates linear residual streams until all their channels are equally wide.

    Attributes:
        settings: Settings of the rotation.
    """

    settings: RotationSettings = RotationSettings()

    def __call__(self, student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
        return rotate_linear_streams(student, teacher, images, settings=self.settings)


@dataclass(frozen=True)
class EqualizeChannels:
    """Rescales channels in front of any layer, where that makes rounding clearly cheaper.

    Attributes:
        settings: Settings of cross-layer equalization.
    """

    settings: CrossLayerSettings = CrossLayerSettings()

    def __call__(self, student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
        return equalize(student, teacher, images, settings=self.settings)


@dataclass(frozen=True)
class RescaleNorms:
    """Rescales and moves channels behind LayerNorm and its kind, where that makes rounding clearly cheaper.

    Attributes:
        settings: Settings of the rescaling.
    """

    settings: NormSettings = NormSettings()

    def __call__(self, student: fx.GraphModule, teacher: Teacher, images: Tensor) -> Teacher:
        return rescale_norms(student, teacher, images, settings=self.settings)


def prepare(
    student: fx.GraphModule,
    teacher: Teacher,
    images: Tensor,
    preparations: Sequence[Preparation],
    progress: Progress | None = None,
    *,
    settings: PreparationSettings = PreparationSettings(),
) -> tuple[Teacher, list[str]]:
    """Rewrites both networks step by step; returns the rewritten teacher and a sentence for each step that was undone.

    A step is undone where the rewritten teacher answers otherwise than the one before, or where the student's layers
    are not the rewritten teacher's.

    Args:
        student: Student of `dfq.student.convert.make_student`; it is changed in place.
        teacher: Its teacher.
        images: Normalised images (N, C, H, W).
        preparations: Steps, in order.
        progress: Where the sentences are reported; None: nowhere.
        settings: Settings of the check that follows each step.
    """
    notes = []
    for preparation in preparations:
        before = _State.of(student)
        other = preparation(student, teacher, images)
        if (reason := _fault(student, other, teacher, images, settings)) is None:
            teacher = other
            continue
        before.restore(student)
        notes.append(f"{_name(preparation)} was undone: {reason}")
        (progress or Silent()).note(notes[-1])
    return teacher, notes


def _name(preparation: Preparation) -> str:
    """Returns the name of a preparation as words, such as "fill as seen"."""
    if (name := getattr(preparation, "__name__", None)) is not None:
        return name.replace("_", " ")
    return re.sub(r"\B(?=[A-Z])", " ", type(preparation).__name__).lower()


def _fault(
    student: fx.GraphModule, other: Teacher, teacher: Teacher, images: Tensor, settings: PreparationSettings
) -> str | None:
    """Says in words what is wrong with a rewritten pair; None: nothing is."""
    off = 0.0 if other is teacher else difference(other, teacher, images, settings=settings)
    if not off <= settings.tolerance:  # This is also true where it is not a number.
        return f"the rewritten network's answers differed by {off:.2g} of the spread of the original's"
    different = [name for name in matrix_calls(other.traced) if not _same_layer(student, other.traced, name, settings)]
    return f"the student's {different[0]} was no longer the teacher's" if different else None


@torch.no_grad()
def difference(
    other: Teacher,
    teacher: Teacher,
    images: Tensor,
    *,
    seed: int = 0,
    settings: PreparationSettings = PreparationSettings(),
) -> float:
    """Returns how far two networks' outputs are apart, on some images and on noise, ÷ the spread of the teacher's.

    Of several outputs, the one that is furthest off counts.
    """
    images = images[: settings.compared]
    pixels = torch.rand(len(images), *images.shape[1:], generator=torch.Generator().manual_seed(seed))
    both = torch.cat([images, teacher.input_spec.normalize(pixels.to(images.device))])
    pairs = zip(as_tuple(other(both)), as_tuple(teacher(both)), strict=True)
    return max(_apart(found.double(), wanted.double()) for found, wanted in pairs if not is_whole(wanted))


def _apart(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / (wanted - wanted.mean(0)).norm().clamp(min=1e-12))


def _same_layer(student: fx.GraphModule, reference: fx.GraphModule, name: str, settings: PreparationSettings) -> bool:
    own, wanted = (dict(network.get_submodule(name).named_parameters()) for network in (student, reference))
    rtol, atol = settings.weight_rtol, settings.weight_atol
    return all(torch.allclose(own[part], tensor, rtol=rtol, atol=atol) for part, tensor in wanted.items())


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
