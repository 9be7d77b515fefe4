"""`Settings`: everything that a user may choose about a quantization, validated together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from types import MappingProxyType

from dfq.calibration import METHODS, Method, Synthesizer
from dfq.calibration.method_checks import check_method
from dfq.calibration.methods import AUTO
from dfq.errors import DfqError
from dfq.images.augment import Augment
from dfq.images.input_spec import InputSpec, is_large
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.settings import JobSettings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import BITS, KERNEL_BITS, Scheme, make_scheme
from dfq.quantizers.targets import DEFAULT_TARGET, find_target
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.settings import LearningRateSettings, TrainSettings

MIXED = "mixed"
MIXED_EXAMPLE = "--bits mixed with --average-bits 4.5, --target-size 1.2MB or --target-bops 1.2G"


@dataclass(frozen=True, kw_only=True)
class Settings(JobSettings):
    """The settings of `dfq quantize`; each field is the option of the same name.

    Attributes:
        bits: Bits of weights and activations, 2 to 8, or mixed. With mixed, each layer's weight gets the width that it
            needs within `average_bits` or `target_size`, and activations have 8 bits unless `activation_bits` is set;
            within `target_bops`, each tensor that layers read gets a width, too.
        weight_bits: Bits of weights. None: those of `bits`.
        activation_bits: Bits of activations. None: those of `bits`.
        average_bits: With mixed bits, the largest number of bits per weight, on average over the network. None: no such
            limit.
        target_size: With mixed bits, the largest size of the ONNX file in bytes. None: no such limit.
        target_bops: With mixed bits, the largest number of bit operations for one image: the sum over all layers of
            multiply–accumulates × bits of the weight × bits of the tensor that the layer reads. None: no such limit.
        scheme: What is quantized: deploy quantizes all that an integer runtime needs, and paper-qat and paper-ptq
            follow published papers.
        target: Runtime that the ONNX file is for: ort-cpu, ort-cuda, tensorrt, openvino or onnx-generic.
        layer_bits: Bits of single layers, by name: those of the layer's weight and of the tensor that it reads.
        method: Method that makes the images and trains the student: a row of `dfq methods`. With auto, dfq chooses one
            by bits, budget and network.
        ranges: How grids are fitted before training: mse, percentile or minmax. None: what the method says:
            minmax where its paper has it, else mse.
        images: Number of synthetic images. None: what the method says, else 1024 (256 at 8 bits); above 64 pixels a
            side 128 (512 for reconstruct), and within a budget as many as the time allows, up to 2048.
        steps: Number of training steps. None: 600 at 2 and 3 bits, 400 at 4 to 7, 200 at 8; 0 for reconstruct above 64
            pixels a side.
    """

    bits: int | str = 8
    weight_bits: int | None = None
    activation_bits: int | None = None
    average_bits: float | None = None
    target_size: int | None = None
    target_bops: float | None = None
    scheme: str = "deploy"
    target: str = DEFAULT_TARGET
    layer_bits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    method: str | Method = AUTO
    ranges: str | None = None
    images: int | None = None
    steps: int | None = None

    def __post_init__(self):
        super().__post_init__()
        self._check_mixed()
        self.make_scheme()
        if isinstance(self.method, str) and self.method not in (AUTO, *METHODS):
            raise DfqError(f"method {self.method!r}", f"one of {', '.join((AUTO, *METHODS))}", "see `dfq methods`")
        if self.ranges is not None and self.ranges not in RANGES:
            raise DfqError(f"ranges {self.ranges!r}", f"one of {', '.join(RANGES)}")
        if self.images is not None and self.images < 2:
            raise DfqError(f"{self.images} images", "at least 2: one to train on, one to hold out", "--images 256")
        if self.steps is not None and self.steps < 0:
            raise DfqError(f"{self.steps} steps", "a number from 0 up", "for example --steps 600")

    def _check_mixed(self) -> None:
        limits = [name for name in ("average_bits", "target_size", "target_bops") if getattr(self, name) is not None]
        if self.is_mixed != bool(limits):
            found = "mixed bits without a limit" if self.is_mixed else f"a limit for widths with {self.bits} bits"
            raise DfqError(found, "mixed bits and a limit together", f"for example {MIXED_EXAMPLE}")
        if len(limits) > 1:
            found = " and ".join(f"--{name.replace('_', '-')}" for name in limits)
            raise DfqError(f"{found} together", "one limit", f"for example {MIXED_EXAMPLE}")
        if self.is_mixed and self.weight_bits is not None:
            raise DfqError(
                f"mixed bits and {self.weight_bits} bits for all weights",
                "one of the two: mixed bits are those of weights",
                "--activation-bits sets those of activations, --layer-bits those of one layer",
            )
        if self.target_bops is not None and self.activation_bits is not None:
            raise DfqError(
                f"a limit on bit operations and {self.activation_bits} bits for all activations",
                "one of the two: the limit chooses those of activations",
                "--layer-bits sets the widths of one layer; --average-bits chooses those of weights alone",
            )
        if self.average_bits is not None and not BITS[0] <= self.average_bits <= BITS[-1]:
            raise DfqError(f"an average of {self.average_bits:g} bits", "from 2 to 8", f"for example {MIXED_EXAMPLE}")
        if self.target_size is not None and self.target_size <= 0:
            raise DfqError(f"a size of {self.target_size} bytes", "a positive size", "--target-size 1.2MB")
        if self.target_bops is not None and not 0 < self.target_bops < inf:
            raise DfqError(f"{self.target_bops:g} bit operations", "a positive number", "--target-bops 1.2G")
        if self.target_size is not None and not find_target(self.target).packs_constants:
            raise DfqError(
                f"a size of the file for --target {self.target}, which stores every weight in 8 bits",
                "a target that stores 4 bits, so that widths change the size",
                "--average-bits instead, or another --target",
            )

    @property
    def is_mixed(self) -> bool:
        """Whether each layer's weight gets its own width, and with `target_bops` each tensor that layers read."""
        return self.bits == MIXED

    def make_scheme(self) -> Scheme:
        """Returns the scheme of these settings; with mixed bits it is that of 8 bits until widths are chosen."""
        return make_scheme(
            self.scheme,
            bits=KERNEL_BITS if self.is_mixed else self.bits,  # type: ignore[arg-type]  # It refuses any other text.
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
            overrides=self.layer_bits,
            target=self.target,
        )

    @property
    def chosen_method(self) -> Method:
        """The method in use; `dfq.jobs.quantize.auto_method.resolve` has replaced "auto" before."""
        assert self.method != AUTO, "auto is not resolved"
        return METHODS[self.method] if isinstance(self.method, str) else self.method

    def image_count(self, input_spec: InputSpec) -> int:
        """Returns the largest number of synthetic images."""
        if (own := self.images or self.chosen_method.images) is not None:
            return own
        if is_large(input_spec.size):
            return (
                QUANTIZE_DEFAULTS.images_large_in_budget if self.budget is not None else self.chosen_method.images_large
            )
        is_8_bits = self.make_scheme().lowest_bits == KERNEL_BITS and not self.is_mixed
        return QUANTIZE_DEFAULTS.images_8_bits if is_8_bits else QUANTIZE_DEFAULTS.images

    def synthesis_share(self, input_spec: InputSpec) -> float:
        """Returns the share of a budget that making images may take, in [0, 1]."""
        method = self.chosen_method
        return method.synthesis_share_large if is_large(input_spec.size) else method.synthesis_share

    @property
    def chosen_ranges(self) -> str:
        return self.ranges or self.chosen_method.ranges

    def make_synthesizer(self, teacher: Teacher, stage: Stage | None = None) -> Synthesizer:
        """Makes the method's synthesizer for images of the teacher's size; large images have smaller batches.

        Raises:
            DfqError: The method needs classes, and the teacher is no classifier.
        """
        check_method(self.chosen_method, teacher)
        spec = teacher.input_spec
        return self.chosen_method.synthesizer(
            teacher,
            stage or Stage(seed=self.seed),
            batch_size=QUANTIZE_DEFAULTS.synthesis_batch_of(spec, on_gpu=teacher.device.type == "cuda"),
            augment=Augment(flip=self.flip, shift=max(spec.size[1] // QUANTIZE_DEFAULTS.synthesis_shift, 1)),
        )

    def training(self, input_spec: InputSpec, scheme: Scheme | None = None) -> TrainSettings:
        """Returns the trainer's settings; the learning rate follows `Scheme.training_bits` unless the method sets it.

        Args:
            input_spec: Size and normalisation of the images.
            scheme: The scheme of the student; None: that of these settings.
        """
        bits = (scheme or self.make_scheme()).training_bits
        wanted = (self.steps, self.chosen_method.steps_large if is_large(input_spec.size) else None)
        usual = TrainSettings(
            steps=next((steps for steps in wanted if steps is not None), QUANTIZE_DEFAULTS.steps[bits]),
            batch_size=QUANTIZE_DEFAULTS.training_batch_of(input_spec),
            learning_rate=LearningRateSettings().by_bits[bits] * self.chosen_method.rate,
            augment=Augment(
                flip=self.flip,
                shift=max(input_spec.size[1] // QUANTIZE_DEFAULTS.training_shift, 1),
                zoom=self.chosen_method.zoom,
            ),
        )
        method = self.chosen_method
        return replace(usual, **{**method.training, **(method.training_large if is_large(input_spec.size) else {})})

    def to_dict(self) -> dict:
        name = self.method if isinstance(self.method, str) else self.method.name
        return {**self.__dict__, "method": name, "layer_bits": dict(self.layer_bits)}
