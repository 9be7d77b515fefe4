"""`Teacher`: the trained network, frozen, and all that a data-free method may ask of it."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from dfq.graph.capture.capture import capture
from dfq.graph.features import FeatureExtractor
from dfq.graph.folding.canonical import folded
from dfq.images.input_spec import InputSpec
from dfq.teacher.answers import boundary_of
from dfq.teacher.batch_norm_statistics import BatchNormStatistics, normalization_layers


def output_of(network: fx.GraphModule) -> fx.Node:
    """The node whose value the network gives back."""
    return next(node for node in network.graph.nodes if node.op == "output").args[0]  # type: ignore[return-value]


def _is_on(model: nn.Module, device: torch.device) -> bool:
    return all(tensor.device.type == device.type for tensor in (*model.parameters(), *model.buffers()))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; each of its modules is in its own mode again afterwards."""
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
        model: maps normalised images (N, C, H, W) to logits (N, classes). It is never changed.
        input_spec: size and normalisation of its images.
        device: where the copy lives; synthetic images and students follow it.
        arch: name that the network can be rebuilt by (`dfq.models.registry`); None: only from Python.
        assumed: sentences on what was guessed while loading.

    Attributes:
        original: `model`, on the device.
        model: a copy, captured as a graph of layers (`dfq.graph.capture.capture`).
        num_classes: width of the logits.
        boundary: where a single logit parts two classes (`dfq.teacher.answers`).

    Raises:
        DfqError: the network cannot be captured.
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
        self.num_classes = output_of(self.model).meta["tensor_meta"].shape[-1]
        self.boundary = boundary_of(self.model)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, C, H, W); differentiable with respect to the images."""
        return self.model(images)

    @property
    def num_answers(self) -> int:
        """How many classes it tells apart: a single logit tells two."""
        return max(self.num_classes, 2)

    @property
    def has_batch_norm(self) -> bool:
        return bool(normalization_layers(self.model))

    @cached_property
    def traced(self) -> fx.GraphModule:
        """A copy whose BatchNorm is folded (`dfq.graph.folding.canonical`), frozen."""
        return folded(self.model, self.input_spec).requires_grad_(False)

    def rewritten(self, traced: fx.GraphModule) -> "Teacher":
        """The same teacher, computed by a changed copy of `traced`."""
        other = copy.copy(self)
        other.__dict__.pop("features", None)
        other.model = other.traced = traced
        return other

    @cached_property
    def features(self) -> FeatureExtractor:
        """Images → `Features`: logits, last feature map of each resolution, input of the classifier.

        Computed by a copy whose BatchNorm is folded: a student's `FeatureExtractor` gives the same places.
        """
        return FeatureExtractor(self.traced)

    @contextmanager
    def bn_statistics(self) -> Iterator[BatchNormStatistics]:
        """Within the context, each forward pass refreshes `.loss()`: the deviation L_bn of the batch's statistics."""
        statistics = BatchNormStatistics(self.model)
        try:
            yield statistics
        finally:
            statistics.remove()
