"""`DistillSettings`: everything that a user may choose about a distillation, validated together."""

from dataclasses import dataclass, replace

from dfq.calibration.methods import DISTILLS_BY_DEFAULT, METHODS, Distillation, Method
from dfq.errors import DfqError
from dfq.images.augment import Augment
from dfq.images.input_spec import InputSpec, is_large
from dfq.jobs.distill.defaults import DISTILL_DEFAULTS
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.settings import JobSettings
from dfq.training.settings import TrainSettings

STARTS = ("teacher", "random")


@dataclass(frozen=True, kw_only=True)
class DistillSettings(JobSettings):
    """The settings of `dfq distill`; each field is the option of the same name.

    The student is not trained as a quantized copy is: SGD with Nesterov momentum 0.9 starts at a learning rate of 0.1
    (0.02 where the student starts from the teacher's layers), which falls to 0 by a cosine. The weight decay is 1e-4,
    and there are more steps.

    Attributes:
        method: Method that makes the images and trains the student: a row of `dfq methods`.
        images: Number of synthetic images. None: 2048, and 512 above 64 pixels a side. A method whose generator gives
            fresh images at every step makes that many to show and to hold out.
        steps: Number of training steps. None: 2000.
        start: What the student starts from. With teacher, it starts from the teacher's layers if nearly all of its own
            have a counterpart there, as in a shallower network of the same family, else from random weights. With
            random, it starts from random weights in any case, as papers do.
        bits: Bits to which the distilled student is quantized, 2 to 8, on the same images. None: it stays in floating
            point.
        seed: Seed of every random draw, the student's first weights included.
    """

    method: str | Method = DISTILLS_BY_DEFAULT
    images: int | None = None
    steps: int | None = None
    start: str = STARTS[0]
    bits: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.start not in STARTS:
            raise DfqError(f"start {self.start!r}", f"one of {', '.join(STARTS)}", "see `dfq distill --help`")
        if isinstance(self.method, str) and self.method not in METHODS:
            raise DfqError(f"method {self.method!r}", f"one of {', '.join(METHODS)}", "see `dfq methods`")
        method = self._as_settings(self.images).chosen_method  # This checks what both jobs have in common.
        if method.distillation is None and method.objective is None:
            raise DfqError(
                f"method {method.name!r}, which trains nothing",
                "a method that says what a student minimises",
                f"for example --method {DISTILLS_BY_DEFAULT}; see `dfq methods`",
            )

    @property
    def chosen_method(self) -> Method:
        return self._as_settings(self.images).chosen_method

    @property
    def distillation(self) -> Distillation:
        """What the method does for a student of another architecture.

        Where its row does not say so, the row's own objective is used, and of its training only how images are varied.
        """
        method = self.chosen_method
        if method.distillation is not None:
            return method.distillation
        assert method.objective is not None
        varied = {name: method.training[name] for name in ("augment", "mix") if name in method.training}
        return Distillation(objective=method.objective, training=varied)

    def image_settings(self, input_spec: InputSpec) -> Settings:
        """Returns the settings that the images are made by (`dfq.jobs.quantize.synthesis.find_images`)."""
        usual = DISTILL_DEFAULTS.images_large if is_large(input_spec.size) else DISTILL_DEFAULTS.images
        return self._as_settings(self.images or self.chosen_method.images or usual)

    def training(self, input_spec: InputSpec, *, inherited: bool = False) -> TrainSettings:
        """Returns the trainer's settings; the learning rate is proportional to the size of a batch.

        Args:
            input_spec: Size and normalisation of the images.
            inherited: Whether the student starts from the teacher's layers.
        """
        batch_size = DISTILL_DEFAULTS.batch_large if is_large(input_spec.size) else DISTILL_DEFAULTS.batch
        learning_rate = DISTILL_DEFAULTS.inherited_learning_rate if inherited else DISTILL_DEFAULTS.learning_rate
        usual = TrainSettings(
            steps=DISTILL_DEFAULTS.steps if self.steps is None else self.steps,
            batch_size=batch_size,
            learning_rate=learning_rate * batch_size / DISTILL_DEFAULTS.batch,
            clip_norm=DISTILL_DEFAULTS.clip_norm,
            optimizer="sgd",
            weight_decay=DISTILL_DEFAULTS.weight_decay,
            augment=Augment(
                flip=self.flip, shift=max(input_spec.size[1] // DISTILL_DEFAULTS.shift, 1), zoom=self.chosen_method.zoom
            ),
        )
        return replace(usual, **self.distillation.training)

    def quantization(self, images: int, budget: float | None) -> Settings:
        """Returns the settings by which the distilled student is quantized on images that exist already.

        Args:
            images: Number of these images.
            budget: Seconds that are left for the quantization; None: there is no limit.
        """
        return Settings(bits=self.bits or 8, images=images, flip=self.flip, budget=budget, seed=self.seed)

    def to_dict(self) -> dict:
        return {**self.__dict__, "method": self.chosen_method.name}

    def _as_settings(self, images: int | None) -> Settings:
        return Settings(
            method=self.method, bits=self.bits or 8, flip=self.flip, images=images, steps=self.steps,
            budget=self.budget, seed=self.seed,
        )  # fmt: skip
