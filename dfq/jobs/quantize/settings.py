"""`Settings`: everything that a person may choose about a quantization, validated together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from dfq.calibration import METHODS, Method, Synthesizer
from dfq.calibration.methods import AUTO, SYNTHESIS_SHARE
from dfq.errors import DfqError
from dfq.images.augment import Augment
from dfq.images.input_spec import InputSpec, is_large
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import BITS, KERNEL_BITS, Scheme, make_scheme
from dfq.quantizers.targets import DEFAULT_TARGET, find_target
from dfq.system.budget import Budget
from dfq.system.progress import Progress
from dfq.teacher import Teacher
from dfq.training.trainer import LEARNING_RATES, TrainSettings

MIXED = "mixed"
MAX_IMAGES, MAX_LARGE = 1024, 2048
LARGE_BATCH, LARGE_BATCH_ON_GPU = 32, 128  # images of more than 64 pixels made together (RESULTS.md, "On a GPU")
STEPS = {2: 600, 3: 600, 8: 200}  # by lowest bits
OTHER_STEPS = 400
MIXED_EXAMPLE = "--bits mixed --average-bits 4.5, or --bits mixed --target-size 1.2MB"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `dfq quantize` takes; each field is the option of the same name.

    Attributes:
        bits: of weights and activations, 2 to 8; or "mixed": each layer's weight gets its own width, chosen by
            `dfq.mixed_precision` so that `average_bits` or `target_size` is kept, and activations have 8 bits.
        weight_bits, activation_bits: instead of `bits`, for one of the two.
        average_bits: with mixed bits: of all weights, at most.
        target_size: with mixed bits: bytes of the ONNX file, at most.
        scheme: "deploy", "paper-qat" or "paper-ptq" (`dfq.quantizers.scheme.SCHEMES`).
        target: runtime that the file is for (`dfq.quantizers.targets.TARGETS`).
        layer_bits: layer name → bits of its weight and of the tensor that it reads.
        method: name of a row of `METHODS`, or a row of your own; "auto": `dfq.jobs.quantize.auto_method` chooses by
            bits, budget, network.
        ranges: how grids are fitted at the start: "mse", "minmax" or "percentile"; None: as the method says.
        flip: mirrored images are allowed; switch off for digits, letters, traffic signs.
        images: number of synthetic images; None: as the method says, else 1024 up to 64×64 pixels (256 at 8 bits),
            else as the method says: 512 for `reconstruct`, 128 for others, and within a budget as many as its share of
            the time allows, up to 2048.
        steps: training steps; None: 600 at 2 and 3 bits, 400 at 4 to 7, 200 at 8; above 64×64 pixels `reconstruct`
            trains only where steps are given.
        budget: seconds for synthesis, training, export and validation together; None: no limit.
        seed: of every random draw.
    """

    bits: int | str = 8
    weight_bits: int | None = None
    activation_bits: int | None = None
    average_bits: float | None = None
    target_size: int | None = None
    scheme: str = "deploy"
    target: str = DEFAULT_TARGET
    layer_bits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    method: str | Method = AUTO
    ranges: str | None = None
    flip: bool = True
    images: int | None = None
    steps: int | None = None
    budget: float | None = None
    seed: int = 0

    def __post_init__(self):
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
        if self.budget is not None and self.budget <= 0:
            raise DfqError(f"a budget of {self.budget} seconds", "a positive time", "for example --budget 5m")

    def _check_mixed(self) -> None:
        targets = [target for target in (self.average_bits, self.target_size) if target is not None]
        if self.is_mixed != bool(targets):
            found = "mixed bits without a target" if self.is_mixed else f"a target for widths with {self.bits} bits"
            raise DfqError(found, "mixed bits and a target together", f"for example {MIXED_EXAMPLE}")
        if len(targets) > 1:
            raise DfqError("an average and a size as targets", "one of the two", f"for example {MIXED_EXAMPLE}")
        if self.is_mixed and self.weight_bits is not None:
            raise DfqError(
                f"mixed bits and {self.weight_bits} bits for all weights",
                "one of the two: mixed bits are those of weights",
                "--activation-bits sets those of activations, --layer-bits those of one layer",
            )
        if self.average_bits is not None and not BITS[0] <= self.average_bits <= BITS[-1]:
            raise DfqError(f"an average of {self.average_bits:g} bits", "from 2 to 8", f"for example {MIXED_EXAMPLE}")
        if self.target_size is not None and self.target_size <= 0:
            raise DfqError(f"a target of {self.target_size} bytes", "a positive size", "--target-size 1.2MB")
        if self.target_size is not None and not find_target(self.target).packs_constants:
            raise DfqError(
                f"a size of the file for --target {self.target}, which stores every weight in 8 bits",
                "a target that stores 4 bits, so that widths change the size",
                "--average-bits instead, or another --target",
            )

    @property
    def is_mixed(self) -> bool:
        return self.bits == MIXED

    def make_scheme(self) -> Scheme:
        """With mixed bits: as long as nothing is chosen, 8 bits."""
        return make_scheme(
            self.scheme,
            bits=KERNEL_BITS if self.is_mixed else self.bits,  # type: ignore[arg-type]  # other text is refused there
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
            overrides=self.layer_bits,
            target=self.target,
        )

    @property
    def chosen_method(self) -> Method:
        """The row in use; "auto" must have been resolved before (`dfq.jobs.quantize.auto_method.resolve`)."""
        assert self.method != AUTO, "auto is not resolved"
        return METHODS[self.method] if isinstance(self.method, str) else self.method

    def image_count(self, input_spec: InputSpec) -> int:
        if (own := self.images or self.chosen_method.images) is not None:
            return own
        if is_large(input_spec.size):
            return MAX_LARGE if self.budget is not None else self.chosen_method.images_large
        return 256 if self.make_scheme().lowest_bits == 8 and not self.is_mixed else MAX_IMAGES

    def synthesis_share(self, input_spec: InputSpec) -> float:
        """Of the budget."""
        return self.chosen_method.synthesis_share_large if is_large(input_spec.size) else SYNTHESIS_SHARE

    @property
    def chosen_ranges(self) -> str:
        return self.ranges or self.chosen_method.ranges

    def make_synthesizer(self, teacher: Teacher, budget: Budget | None, progress: Progress | None) -> Synthesizer:
        """The method's, for images of the teacher's size: large ones in smaller batches."""
        height = teacher.input_spec.size[1]
        large = LARGE_BATCH_ON_GPU if teacher.device.type == "cuda" else LARGE_BATCH
        return self.chosen_method.synthesizer(
            teacher,
            batch_size=large if is_large(teacher.input_spec.size) else 256,
            augment=Augment(flip=self.flip, shift=max(height // 16, 1)),
            seed=self.seed,
            budget=budget,
            progress=progress,
        )

    def training(self, input_spec: InputSpec, scheme: Scheme | None = None) -> TrainSettings:
        """The trainer's settings: its step size follows `Scheme.training_bits`, unless the method sets its own.

        Args:
            scheme: of the student; None: that of the settings, where nothing is chosen on the way.
        """
        bits = (scheme or self.make_scheme()).training_bits
        wanted = (self.steps, self.chosen_method.steps_large if is_large(input_spec.size) else None)
        usual = TrainSettings(
            steps=next((steps for steps in wanted if steps is not None), STEPS.get(bits, OTHER_STEPS)),
            batch_size=32 if is_large(input_spec.size) else 128,
            learning_rate=LEARNING_RATES[bits] * self.chosen_method.rate,
            augment=Augment(flip=self.flip, shift=max(input_spec.size[1] // 10, 1), zoom=self.chosen_method.zoom),
            seed=self.seed,
        )
        return replace(usual, **self.chosen_method.training)

    def to_dict(self) -> dict:
        name = self.method if isinstance(self.method, str) else self.method.name
        return {**self.__dict__, "method": name, "layer_bits": dict(self.layer_bits)}
