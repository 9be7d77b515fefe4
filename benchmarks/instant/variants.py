"""The variants of post-training without learning that the benchmark compares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, fx

from dfq.images.input_spec import InputSpec
from dfq.post_training.batch_norm_bias_correction import correct_from_moments
from dfq.post_training.bias_correction import correct_biases
from dfq.post_training.squant import round_weights
from dfq.student.convert import weight_quantizers

Images = Mapping[str, Tensor]  # sets of synthetic images by name: "plausible" ones and "sketches"


@torch.no_grad()
def clip_weights(student: fx.GraphModule) -> None:
    """Moves weights beyond their grid to its ends, so that SQuant does not see their errors."""
    for layer, quantizer in weight_quantizers(student).items():
        weight = student.get_submodule(layer).weight
        scale, zero_point = (p.view(-1, *[1] * (weight.dim() - 1)) for p in quantizer.qparams())
        low, high = (quantizer.spec.q_min - zero_point) * scale, (quantizer.spec.q_max - zero_point) * scale
        weight.copy_(torch.minimum(torch.maximum(weight, low), high))


def round_without_clipped(student: fx.GraphModule) -> None:
    """Rounds by SQuant, which sees no errors of clipped weights."""
    clip_weights(student)
    round_weights(student)


ROUNDINGS = {
    "nearest": lambda student: None,
    "SQuant": round_weights,
    "SQuant, clipped left out": round_without_clipped,
}


def corrected(source: str, *, match_spread: bool) -> Callable:
    """Returns a correction of the student's biases on "plausible" images or "sketches"."""

    def correct(student: fx.GraphModule, reference: fx.GraphModule, images: Images, input_spec: InputSpec) -> None:
        correct_biases(student, reference, images[source], match_spread=match_spread)

    return correct


def drawn(*, match_spread: bool) -> Callable:
    """Returns a correction of the student's biases on maps drawn from BatchNorm's parameters."""

    def correct(student: fx.GraphModule, reference: fx.GraphModule, images: Images, input_spec: InputSpec) -> None:
        correct_from_moments(student, reference, input_spec, match_spread=match_spread)

    return correct


CORRECTIONS: dict[str, Callable] = {
    "none": lambda student, reference, images, input_spec: None,
    "means": corrected("plausible", match_spread=False),
    "means and spread": corrected("plausible", match_spread=True),
    "means and spread, on sketches": corrected("sketches", match_spread=True),
    "means, on draws": drawn(match_spread=False),
    "means and spread, on draws": drawn(match_spread=True),
}


@dataclass(frozen=True)
class Variant:
    """One way of post-training; the fields name what is done, in the order in which it is done.

    Attributes:
        equalized: Whether layers are equalized across each other where it is worth something. (Rows from before
            29 November 2026 equalized every pair without ReLU6, by the ranges that BatchNorm predicts.)
        ranges: The rule that fits the grids.
        activations: Where the ranges of activations come from: BatchNorm's "moments", or "images".
        rounding: A key of `ROUNDINGS`.
        correction: A key of `CORRECTIONS`.
    """

    equalized: bool
    ranges: str
    activations: str
    rounding: str
    correction: str

    @property
    def name(self) -> str:
        """What the variant does, in words."""
        equalized = "equalized, " if self.equalized else ""
        corrected = "" if self.correction == "none" else f", {self.correction}"
        return f"{equalized}{self.ranges} {self.activations}, {self.rounding}{corrected}"


NAIVE = Variant(False, "minmax", "images", "nearest", "none")
ON_IMAGES = ("none", "means", "means and spread")
VARIANTS = (
    NAIVE,
    *(Variant(False, "mse", "moments", *parts) for parts in product(ROUNDINGS, ON_IMAGES)),
    *(Variant(False, "mse", "images", "SQuant", correction) for correction in ON_IMAGES),
    *(
        Variant(equalized, "mse", "moments", "SQuant", c)
        for c in CORRECTIONS
        if c not in ON_IMAGES
        for equalized in (False, True)
    ),
    *(
        Variant(True, "mse", "moments", *parts)
        for parts in product(("nearest", "SQuant"), ("none", "means and spread"))
    ),
    Variant(True, "mse", "moments", "SQuant", "means"),
    Variant(True, "mse", "images", "SQuant", "means and spread"),
)
# The fields of a row that say which cell it is.
KEYS = ("net", "bits", *Variant.__dataclass_fields__)
