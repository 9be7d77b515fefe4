"""`DistillSettings`: everything that a person may choose about a distillation, validated together."""

from dataclasses import dataclass, replace

from dfq.calibration.methods import DISTILLS_BY_DEFAULT, METHODS, Distillation, Method
from dfq.errors import DfqError
from dfq.images.augment import Augment
from dfq.images.input_spec import InputSpec, is_large
from dfq.jobs.quantize.settings import Settings
from dfq.training.trainer import TrainSettings

IMAGES, IMAGES_LARGE = 2048, 512  # up to 64×64 pixels, and beyond
STEPS = 2000  # published: 80,000 (RGAL), for a student that starts from nothing
BATCH, BATCH_LARGE = 128, 32
LEARNING_RATE, WEIGHT_DECAY = 0.1, 1e-4  # SGD as RGAL, AdaDFKD and Retain publish it, for batches of `BATCH`
INHERITED_LEARNING_RATE = 0.02  # for a student that has its teacher's layers (decision record 0025)
STARTS = ("teacher", "random")
CLIP_NORM = 5.0  # a guard; no paper has one


@dataclass(frozen=True, kw_only=True)
class DistillSettings:
    """What `dfq distill` takes; each field is the option of the same name.

    Such a student is trained otherwise than a quantized copy: by SGD with Nesterov's momentum 0.9, at 0.1 (0.02 where
    it starts from the teacher's layers) falling to 0 by a cosine, with weight decay 1e-4, and for more steps.

    Attributes:
        method: name of a row of `METHODS`, or a row of your own.
        flip: mirrored images are allowed; switch off for digits, letters, traffic signs.
        images: number of synthetic images; None: 2048 up to 64×64 pixels, else 512. Methods whose generator gives
            fresh images at every step make that many to show and to hold out.
        steps: training steps; None: 2000.
        budget: seconds for everything together; None: no limit.
        seed: of every random draw, the student's first weights included.
        start: "teacher": from the teacher's layers, where nearly all of the student's have a counterpart there (a
            shallower network of the same family); else, and with "random", from random weights, as papers do.
        bits: quantize the distilled student to that many, 2 to 8; None: it stays in floating point.
    """

    method: str | Method = DISTILLS_BY_DEFAULT
    flip: bool = True
    images: int | None = None
    steps: int | None = None
    budget: float | None = None
    seed: int = 0
    start: str = STARTS[0]
    bits: int | None = None

    def __post_init__(self):
        if self.start not in STARTS:
            raise DfqError(f"start {self.start!r}", f"one of {', '.join(STARTS)}", "see `dfq distill --help`")
        if isinstance(self.method, str) and self.method not in METHODS:
            raise DfqError(f"method {self.method!r}", f"one of {', '.join(METHODS)}", "see `dfq methods`")
        method = self._as_settings(self.images).chosen_method  # checks what both jobs have
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
        """The row's own; else its objective, and of its training how images are varied: steps are another job's."""
        method = self.chosen_method
        if method.distillation is not None:
            return method.distillation
        assert method.objective is not None
        varied = {name: method.training[name] for name in ("augment", "mix") if name in method.training}
        return Distillation(objective=method.objective, training=varied)

    def image_settings(self, input_spec: InputSpec) -> Settings:
        """What the images are made by (`dfq.jobs.quantize.synthesis.find_images`)."""
        usual = IMAGES_LARGE if is_large(input_spec.size) else IMAGES
        return self._as_settings(self.images or self.chosen_method.images or usual)

    def training(self, input_spec: InputSpec, *, inherited: bool = False) -> TrainSettings:
        """The trainer's settings; the step size goes with the batch.

        Args:
            inherited: the student starts from the teacher's layers.
        """
        batch_size = BATCH_LARGE if is_large(input_spec.size) else BATCH
        learning_rate = INHERITED_LEARNING_RATE if inherited else LEARNING_RATE
        usual = TrainSettings(
            steps=STEPS if self.steps is None else self.steps,
            batch_size=batch_size,
            learning_rate=learning_rate * batch_size / BATCH,
            clip_norm=CLIP_NORM,
            optimizer="sgd",
            weight_decay=WEIGHT_DECAY,
            augment=Augment(flip=self.flip, shift=max(input_spec.size[1] // 10, 1), zoom=self.chosen_method.zoom),
            seed=self.seed,
        )
        return replace(usual, **self.distillation.training)

    def quantization(self, images: int, budget: float | None) -> Settings:
        """How the distilled student is quantized: by `dfq quantize`'s default, on the images that are there."""
        return Settings(bits=self.bits or 8, images=images, flip=self.flip, budget=budget, seed=self.seed)

    def to_dict(self) -> dict:
        return {**self.__dict__, "method": self.chosen_method.name}

    def _as_settings(self, images: int | None) -> Settings:
        return Settings(
            method=self.method, bits=self.bits or 8, flip=self.flip, images=images, steps=self.steps,
            budget=self.budget, seed=self.seed,
        )  # fmt: skip
