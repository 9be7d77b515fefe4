"""`InversionConfig`: what makes one kind of synthetic image."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dfq.calibration.inversion.batch_norm_matching import Matching
from dfq.calibration.inversion.parametrizations import Parametrization
from dfq.calibration.inversion_terms import LabelCrossEntropy, Term
from dfq.images.input_spec import is_large


@dataclass(frozen=True, kw_only=True)
class InversionConfig:
    """What makes one kind of image.

    Attributes:
        parametrization: How a batch of images is written down: a class with the protocol `Parametrization`.
        terms: Loss terms, beside the deviation from the BatchNorm statistics.
        statistics: Whether the deviation from the BatchNorm statistics is a part of the loss. For a network that has
            none, such a kind is replaced (`dfq.calibration.inversion.without_statistics`).
        iterations: Number of gradient steps for each batch.
        iterations_large: Number of gradient steps for images of more than 64 pixels a side; None: `iterations`.
        learning_rate: First learning rate of Adam, which falls to 0 by a cosine.
        learning_rate_large: First learning rate for images of more than 64 pixels a side; None: `learning_rate`.
        together: Largest number of images that are optimised together; None: as many as the synthesizer is told.
            Images whose joint statistics do not count need less memory in small groups.
        together_large: The same for images of more than 64 pixels a side; None: `together`.
        betas: Decay rates of Adam's two moments. With (0, 0), each step is the sign of the gradient times the rate.
        eps: What Adam adds to the root of its second moment, in units of the gradient.
        augmented: Whether images are mirrored and shifted in the loop.
        matching: How the BatchNorm statistics are matched.
        keep_best: Whether the images of the step with the lowest loss are kept; False: those of the last step, which
            are as good where the learning rate falls to 0.
        cutoff: Cutoff of the low-pass filter that finished images pass (`low_pass`), in units of the finest frequency;
            None: there is no filter.
        patience: Number of the last iterations whose best loss is compared with the best one before. A batch has at
            least twice as many before it may end early.
        min_gain: Smallest improvement between the two, as a share of the loss, with which a batch goes on.
        min_time: Smallest share of a batch's expected time that must be left in the budget for it to be started. The
            first batch is always started.
    """

    parametrization: Callable[..., Parametrization]
    terms: tuple[Term, ...]
    statistics: bool = True
    iterations: int = 200
    iterations_large: int | None = None
    learning_rate: float = 0.1
    learning_rate_large: float | None = None
    together: int | None = None
    together_large: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    augmented: bool = True
    matching: Matching = Matching()
    keep_best: bool = False
    cutoff: float | None = None
    patience: int = 60
    min_gain: float = 0.01
    min_time: float = 0.6

    def for_size(self, size: tuple[int, int, int]) -> "InversionConfig":
        """Returns the same kind with what it says of images of that size (C, H, W)."""
        usual = replace(self, iterations_large=None, learning_rate_large=None, together_large=None)
        if not is_large(size):
            return usual
        return replace(
            usual,
            iterations=self.iterations_large or self.iterations,
            learning_rate=self.learning_rate_large or self.learning_rate,
            together=self.together_large or self.together,
        )

    @property
    def needs_inner(self) -> bool:
        """Whether a term reads what the network computes inside."""
        return any(getattr(term, "needs_inner", False) for term in self.terms)

    @property
    def asks_for_classes(self) -> bool:
        """Whether a term asks the teacher for classes."""
        return any(isinstance(term, LabelCrossEntropy) for term in self.terms)

    @property
    def needs_student(self) -> bool:
        """Whether a term works against a student."""
        return any(getattr(term, "needs_student", False) for term in self.terms)

    @property
    def needs_pairs(self) -> bool:
        """Whether a term compares images of one class."""
        return any(getattr(term, "needs_pairs", False) for term in self.terms)

    def has_settled(self, losses: list[float]) -> bool:
        """Returns whether the last of these losses hardly fall any more."""
        if len(losses) <= 2 * self.patience:
            return False
        before, now = min(losses[: -self.patience]), min(losses[-self.patience :])
        return now > before * (1 - self.min_gain)
