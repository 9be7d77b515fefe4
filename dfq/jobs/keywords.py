"""The keywords that jobs take in Python, with types, so that an editor completes and checks them.

They are the fields of the settings classes, which describe them, and those of `LoadOptions`. Tests compare both.
"""

from collections.abc import Mapping, Sequence
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
    target_bops: float | None
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


class InspectKeywords(LoadOptions, total=False):
    """The fields of `dfq.jobs.quantize.settings.Settings` that say what is quantized, and to how many bits."""

    bits: int
    weight_bits: int | None
    activation_bits: int | None
    scheme: Literal["deploy", "paper-qat", "paper-ptq"]
    target: Literal["ort-cpu", "ort-cuda", "tensorrt", "openvino", "onnx-generic"]
    layer_bits: Mapping[str, int]


class SynthesizeKeywords(LoadOptions, total=False):
    """The fields of `dfq.jobs.quantize.settings.Settings` that say how images are made."""

    method: str | Method
    images: int | None
    flip: bool
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


COMPARED = ("methods", "job", "bits", "students", "seeds")


class CompareKeywords(LoadOptions, total=False):
    """What a comparison compares, and the settings that all its runs share.

    The other keys are the fields of `dfq.jobs.quantize.settings.Settings` and
    `dfq.jobs.distill.settings.DistillSettings`, except `method` and `seed`, which differ from run to run.

    Attributes:
        methods: Names of methods, as `dfq.methods` has them. This key is required.
        job: Whether the methods "quantize" to each of `bits`, which is the default, or "distill" into each of
            `students`.
        bits: Bits of weights and activations, each 2 to 8; the default is 4 alone.
        students: Architectures of students, as `dfq.distill` takes them.
        seeds: Number of runs for each method and width (or student); the default is 3.
    """

    methods: Sequence[str]
    job: Literal["quantize", "distill"]
    bits: Sequence[int]
    students: Sequence[str]
    seeds: int
    weight_bits: int | None
    activation_bits: int | None
    scheme: Literal["deploy", "paper-qat", "paper-ptq"]
    target: Literal["ort-cpu", "ort-cuda", "tensorrt", "openvino", "onnx-generic"]
    layer_bits: Mapping[str, int]
    ranges: Ranges | None
    flip: bool
    images: int | None
    steps: int | None
    budget: float | None
    start: Literal["teacher", "random"]


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
