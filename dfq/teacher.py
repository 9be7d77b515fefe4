"""`Teacher`: the trained network, frozen, and all that a data-free method may ask of it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from dfq.batch_norm_statistics import BatchNormStatistics, normalization_layers
from dfq.features import FeatureExtractor
from dfq.input_spec import InputSpec
from dfq.trace import trace


class Teacher:
    """A frozen full-precision network in evaluation mode.

    Args:
        model: maps normalised images (N, C, H, W) to logits (N, classes). It is copied, never changed.
        input_spec: size and normalisation of its images.
        device: where the copy lives; synthetic images and students follow it.

    Attributes:
        num_classes: width of the logits.
    """

    def __init__(self, model: nn.Module, input_spec: InputSpec, device: str | torch.device = "cpu"):
        self.input_spec, self.device = input_spec, torch.device(device)
        self.model = copy.deepcopy(model).to(self.device).eval().requires_grad_(False)
        with torch.no_grad():
            logits = self.model(torch.zeros(1, *input_spec.size, device=self.device))
        self.num_classes = logits.shape[-1]

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, C, H, W); differentiable with respect to the images."""
        return self.model(images)

    @property
    def has_batch_norm(self) -> bool:
        return bool(normalization_layers(self.model))

    @cached_property
    def traced(self) -> fx.GraphModule:
        """A traced copy whose BatchNorm is folded (`dfq.trace.trace`), frozen.

        Raises:
            DfqError: the network does not trace.
        """
        return trace(self.model, self.input_spec).to(self.device).requires_grad_(False)

    def rewritten(self, traced: fx.GraphModule) -> "Teacher":
        """The same teacher, computed by a changed copy of `traced`."""
        other = copy.copy(self)
        other.__dict__.pop("features", None)
        other.model = other.traced = traced
        return other

    @cached_property
    def features(self) -> FeatureExtractor:
        """Images → `Features`: logits, last feature map of each resolution, input of the classifier.

        Computed by a traced copy whose BatchNorm is folded: a student's `FeatureExtractor` gives the same places.

        Raises:
            DfqError: the network does not trace.
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
