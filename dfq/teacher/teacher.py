"""`Teacher`: the frozen trained network, and all that a data-free method may ask of it."""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.graph.features import FeatureExtractor
from dfq.graph.file_interface import interface_of
from dfq.graph.final_softmax import remove_final_softmax
from dfq.graph.folding.canonical import folded
from dfq.images.input_spec import InputSpec
from dfq.teacher.answers import boundary_of
from dfq.teacher.batch_norm_statistics import BatchNormStatistics, normalization_layers
from dfq.teacher.output_kinds import described, has_unit_length, left_out, outputs_of
from dfq.teacher.settings import BatchNormSettings

SOFTMAX = (
    "that the softmax at the end only makes probabilities of logits: students are fitted to the logits, and the files "
    "that dfq writes end in the softmax again"
)
EMBEDDING = (
    "that the output is an embedding and no logits of classes, because its length is 1 for every image: students are "
    "fitted to its values"
)


def _is_on(model: nn.Module, device: torch.device) -> bool:
    return all(tensor.device.type == device.type for tensor in (*model.parameters(), *model.buffers()))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts the model into evaluation mode within the context; afterwards each module is in its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


class Teacher:
    """A frozen full-precision network in evaluation mode.

    Args:
        model: Network that maps normalised images (N, C, H, W) to logits (N, classes), or to any other tensors with a
            row for each image. It is never changed.
        input_spec: Size and normalisation of its images.
        device: Device of the copy; synthetic images and students are on the same one.
        arch: Name by which the network can be rebuilt (`dfq.models.registry`); None: it can only be passed from Python.
        assumed: Sentences on what was assumed while the network was loaded.
        classifies: Whether a single output (N, C) is logits of classes; None: it is, unless its length is always 1. All
            other outputs are values, which students are fitted to as such.

    Attributes:
        original: The given network, on the device.
        model: A copy that was captured as a graph of layers (`dfq.graph.capture.capture`).
        capture_seconds: Seconds that the capture took.
        interface: Names in ONNX files of the network, and whether these end in a softmax, which `model` is without.
        outputs: What the network gives.
        is_classifier: Whether it gives logits of classes and nothing else.
        num_classes: Width of the logits; 0 where the network is no classifier.
        boundary: Value of a single logit that separates two classes (`dfq.teacher.answers`).

    Raises:
        DfqError: The network cannot be captured.
    """

    def __init__(
        self,
        model: nn.Module,
        input_spec: InputSpec,
        device: str | torch.device = "cpu",
        *,
        arch: str | None = None,
        assumed: Sequence[str] = (),
        classifies: bool | None = None,
    ):
        self.input_spec, self.device = input_spec, torch.device(device)
        self.arch, self.assumed = arch, tuple(assumed)
        self.original = model if _is_on(model, self.device) else copy.deepcopy(model).to(self.device)
        start = time.monotonic()
        with evaluating(self.original):
            self.model: fx.GraphModule = copy.deepcopy(capture(self.original, input_spec)).requires_grad_(False)
        self.capture_seconds = time.monotonic() - start
        self.interface = interface_of(self.model)
        self.outputs = outputs_of(self.model, self.interface.outputs)
        self.assumed = (*self.assumed, *left_out(self.model))
        self.is_classifier = self._classifies(classifies)
        if self.is_classifier and remove_final_softmax(self.model):
            self.interface = replace(self.interface, softmax=True)
            self.assumed = (*self.assumed, SOFTMAX)
        self.num_classes = self.outputs[0].shape[0] if self.is_classifier else 0
        self.boundary = boundary_of(self.model)

    def _classifies(self, said: bool | None) -> bool:
        if self.width is None:
            if said:
                given = described(self.outputs)
                raise DfqError(f"classifies=True for {given}", "one output (N, classes)", "leave it out")
            return False
        if said is None and has_unit_length(self.model, self.input_spec):
            self.assumed = (*self.assumed, EMBEDDING)
            return False
        return said is not False

    def __call__(self, images: Tensor) -> Any:
        """Returns the logits (N, classes) of normalised images (N, C, H, W); differentiable with respect to them.

        A network that is no classifier gives its outputs (`dfq.graph.outputs.Outputs`).
        """
        return self.model(images)

    @property
    def width(self) -> int | None:
        """Length C of a single output (N, C), by which libraries build the network; None for other outputs."""
        shape = self.outputs[0].shape
        return shape[0] if len(self.outputs) == 1 and len(shape) == 1 else None

    @property
    def num_answers(self) -> int:
        """Number of classes that the network tells apart; a single logit tells two apart, and other outputs none."""
        return max(self.num_classes, 2) if self.is_classifier else 0

    def check_classifier(self, what: str, reason: str, way_out: str) -> None:
        """Raises `DfqError` where the outputs are no logits of classes.

        Args:
            what: What was asked for, such as "method rgal".
            reason: Why it needs classes.
            way_out: What is possible instead.
        """
        if not self.is_classifier:
            raise DfqError(
                f"{what} for a network that is no classifier: it gives {described(self.outputs)}",
                f"logits (N, classes): {reason}",
                way_out,
            )

    @property
    def has_batch_norm(self) -> bool:
        """Whether BatchNorm statistics describe the network, and not only a few of its layers."""
        known, layers = self.described_layers
        return known > 0 and known >= BatchNormSettings().least_share * layers

    @property
    def described_layers(self) -> tuple[int, int]:
        """The number of BatchNorm layers with statistics, and that of convolutions and linear layers."""
        layers = sum(isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) for module in self.model.modules())
        return len(normalization_layers(self.model)), layers

    @cached_property
    def traced(self) -> fx.GraphModule:
        """A frozen copy whose BatchNorm is folded (`dfq.graph.folding.canonical`)."""
        return folded(self.model, self.input_spec).requires_grad_(False)

    def rewritten(self, traced: fx.GraphModule) -> "Teacher":
        """Returns the same teacher, computed by a changed copy of `traced`."""
        other = copy.copy(self)
        other.__dict__.pop("features", None)
        other.model = other.traced = traced
        return other

    @cached_property
    def features(self) -> FeatureExtractor:
        """Maps images to `Features`: logits, last feature map of each resolution, input of the classifier.

        They are computed by `traced`, so that a student's `FeatureExtractor` takes them at the same places.
        """
        return FeatureExtractor(self.traced)

    @contextmanager
    def bn_statistics(self) -> Iterator[BatchNormStatistics]:
        """Yields statistics whose `loss()` is L_bn, the deviation of the last batch, within the context."""
        statistics = BatchNormStatistics(self.model)
        try:
            yield statistics
        finally:
            statistics.remove()
