"""The arms of the benchmark, each of which is the default method with one thing changed."""

from dataclasses import dataclass, replace
from functools import partial

from dfq.calibration import METHODS, Method, recipes, rgal
from dfq.calibration.inversion import zeroq
from dfq.calibration.inversion.batch_norm_matching import Matching
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.parametrizations import FreePixels
from dfq.calibration.inversion.without_statistics import LEAVES
from dfq.post_training.reconstruction import FitSettings

ROW = METHODS["reconstruct"]
FIT: FitSettings = ROW.post_training[0].settings  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """`reconstruct` with one thing changed.

    Attributes:
        images: The ways in which images are made, batch by batch in turn.
        against_student: Whether half of them are made against the calibrated student, as RGAL does.
        fit: How the blocks are fitted; the work of a cell sets the iterations.
        polish: The part of the usual learning rate in end-to-end training; None stands for no training.
        polished_scales: Whether that training learns scales, too.
        real: Whether as many real images take the place of synthetic ones.
    """

    images: InversionConfig | tuple[InversionConfig, ...] = recipes.IMPROVED
    against_student: bool = False
    fit: FitSettings = FIT
    polish: float | None = ROW.rate
    polished_scales: bool = True
    real: bool = False

    @property
    def method(self) -> Method:
        """The row of `METHODS` that the arm amounts to."""
        training = {**ROW.training, "learn_scales": self.polished_scales}
        return replace(ROW, synthesizer=partial(Inversion, self.images), rate=self.polish or 1.0, training=training)


ARMS = {
    "reconstruct": Arm(),
    "− dropping": Arm(fit=replace(FIT, drop=0.0)),
    "half of the dropping": Arm(fit=replace(FIT, drop=0.25)),
    "− weight scales learned in blocks": Arm(fit=replace(FIT, scale_rate=0.0)),
    "− activation steps learned in blocks": Arm(fit=replace(FIT, step_rate=0.0)),
    "− compensation": Arm(fit=replace(FIT, least_squares=False)),
    "− learned biases": Arm(fit=replace(FIT, bias_rate=0.0)),
    "− compensation and learned biases": Arm(fit=replace(FIT, least_squares=False, bias_rate=0.0)),
    "− all learned scales": Arm(fit=replace(FIT, scale_rate=0.0, step_rate=0.0), polished_scales=False),
    "− polish": Arm(polish=None),
    "polish at a third of the usual rate": Arm(polish=1 / 3),
    "polish at the usual rate": Arm(polish=1.0),
    "free pixels": Arm(images=replace(recipes.IMPROVED, parametrization=FreePixels)),
    "as ZeroQ published": Arm(images=zeroq.AS_PUBLISHED),
    "generated": Arm(images=recipes.GENERATED),
    "+ generated": Arm(images=recipes.BOTH),
    "+ leaves": Arm(images=(recipes.IMPROVED, LEAVES)),
    "+ generated and leaves": Arm(images=(*recipes.BOTH, LEAVES)),
    "+ slack": Arm(images=replace(recipes.IMPROVED, matching=Matching(slack=0.1))),
    "+ aggregated statistics": Arm(images=replace(recipes.IMPROVED, matching=Matching(aggregated=True))),
    "+ swing": Arm(images=replace(recipes.IMPROVED, matching=Matching(swing=True))),
    "+ low-pass": Arm(images=replace(recipes.IMPROVED, cutoff=0.5)),
    "+ relations": Arm(images=rgal.OPTIMIZED, against_student=True),
    "real images": Arm(real=True),
    "real images, − polish": Arm(real=True, polish=None),
}
