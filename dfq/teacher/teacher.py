"""`Teacher`: the frozen trained network, and all that a data-free method may ask of it."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from dfq.graph.capture.capture import capture
from dfq.graph.features import FeatureExtractor
from dfq.graph.file_interface import interface_of
from dfq.graph.final_softmax import remove_final_softmax
from dfq.graph.folding.canonical import folded
from dfq.images.input_spec import InputSpec
from dfq.teacher.answers import boundary_of
from dfq.teacher.batch_norm_statistics import BatchNormStatistics, normalization_layers

SOFTMAX = (
    "that the softmax at the end only makes probabilities of logits: students are fitted to the logits, and the files "
    "that dfq writes end in the softmax again"
)


def output_of(network: fx.GraphModule) -> fx.Node:
    """Returns the node whose value the network returns."""
    return next(node for node in network.graph.nodes if node.op == "output").args[0]  # type: ignore[return-value]


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
        model: Network that maps normalised images (N, C, H, W) to logits (N, classes). It is never changed.
        input_spec: Size and normalisation of its images.
        device: Device of the copy; synthetic images and students are on the same one.
        arch: Name by which the network can be rebuilt (`dfq.models.registry`); None: it can only be passed from Python.
        assumed: Sentences on what was assumed while the network was loaded.

    Attributes:
        original: The given network, on the device.
        model: A copy that was captured as a graph of layers (`dfq.graph.capture.capture`).
        interface: Names in ONNX files of the network, and whether these end in a softmax, which `model` is without.
        num_classes: Width of the logits.
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
    ):
        self.input_spec, self.device = input_spec, torch.device(device)
        self.arch, self.assumed = arch, tuple(assumed)
        self.original = model if _is_on(model, self.device) else copy.deepcopy(model).to(self.device)
        with evaluating(self.original):
            self.model: fx.GraphModule = copy.deepcopy(capture(self.original, input_spec)).requires_grad_(False)
        self.interface = replace(interface_of(self.model), softmax=remove_final_softmax(self.model))
        self.num_classes = output_of(self.model).meta["tensor_meta"].shape[-1]
        self.boundary = boundary_of(self.model)
        if self.interface.softmax:
            self.assumed = (*self.assumed, SOFTMAX)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns the logits (N, classes) of normalised images (N, C, H, W); differentiable with respect to them."""
        return self.model(images)

    @property
    def num_answers(self) -> int:
        """Number of classes that the network tells apart; a single logit tells two apart."""
        return max(self.num_classes, 2)

    @property
    def has_batch_norm(self) -> bool:
        return bool(normalization_layers(self.model))

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
