"""The keywords that jobs take in Python, typed, so that an editor completes and checks them.

They are the fields of the settings classes, where each is described, and `LoadOptions`; the tests compare them.
"""

from collections.abc import Mapping
from typing import Literal

from dfq.calibration import Method
from dfq.teacher.load import LoadOptions

Ranges = Literal["mse", "minmax", "percentile"]


class QuantizeKeywords(LoadOptions, total=False):
    """The fields of `dfq.jobs.quantize.settings.Settings`."""

    bits: int | Literal["mixed"]
    weight_bits: int | None
    activation_bits: int | None
    average_bits: float | None
    target_size: int | None
    scheme: Literal["deploy", "paper-qat", "paper-ptq"]
    target: Literal["ort-cpu", "ort-cuda", "tensorrt", "openvino", "onnx-generic"]
    layer_bits: Mapping[str, int]
    method: str | Method
    ranges: Ranges | None
    flip: bool
    images: int | None
    steps: int | None
    budget: float | None
    seed: int


class DistillKeywords(LoadOptions, total=False):
    """The fields of `dfq.jobs.distill.settings.DistillSettings`."""

    method: str | Method
    flip: bool
    images: int | None
    steps: int | None
    budget: float | None
    seed: int
    start: Literal["teacher", "random"]
    bits: int | None


class IncrementKeywords(LoadOptions, total=False):
    """The fields of `dfq.jobs.increment.settings.IncrementSettings`."""

    strategy: str
    flip: bool
    images: int
    steps: int
    budget: float | None
    learning_rate: float
    batch_size: int
    seed: int
