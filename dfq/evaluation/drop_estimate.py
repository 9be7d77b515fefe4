"""Estimates, without any real image, how much accuracy a student has lost, from how it differs from its teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from dfq.evaluation.evidence import AnyEvidence
from dfq.evaluation.held_out_evidence import Evidence
from dfq.evaluation.settings import DropEstimateSettings

MIN_DISAGREEMENT = 1e-3  # The logarithm of a smaller disagreement is that of this one.
SMALL_DROP = 0.02  # The error of a predicted drop is in proportion to this and the drop.


@dataclass(frozen=True)
class Estimate:
    """Predicts a drop of accuracy from evidence: drop = exp(offset) · (1 − far agreement)^power, at most 1.

    A drop is the share of the teacher's accuracy that is lost, so that networks of different accuracy can be compared:
    0.02 of a teacher with 80 % is a drop of 1.6 percentage points.

    Attributes:
        offset: Logarithm of the drop of a student that never agrees with its teacher on far images.
        power: Exponent of the disagreement on far images.
        error: Mean absolute error of the drop over the students that the estimate was fitted to.
        above: How far the interval reaches above the predicted drop, in units of `scale`.
        below: How far it reaches below.
    """

    offset: float
    power: float
    error: float
    above: float = 0.0
    below: float = 0.0

    def drop(self, evidence: Evidence) -> float:
        return min(exp(self.offset + self.power * log(max(1 - evidence.far_agreement, MIN_DISAGREEMENT))), 1.0)

    def interval(self, evidence: Evidence) -> tuple[float, float]:
        """Returns the ends of the 90 % interval of the drop, in [0, 1]."""
        drop = self.drop(evidence)
        return max(drop - self.below * scale(drop), 0.0), min(drop + self.above * scale(drop), 1.0)


def scale(drop: float) -> float:
    """Returns what the error of a predicted drop is in proportion to: a small constant and the drop itself."""
    return SMALL_DROP + drop


# Fitted to 64 students of three networks, from 8 to 2 bits (`benchmarks/estimate/`, which also measures its error).
FITTED = Estimate(offset=0.003, power=3.30, error=0.036, above=0.588, below=0.349)


@dataclass(frozen=True)
class Prediction:
    """What is said of a student's drop of accuracy without any real image.

    Attributes:
        drop: The share of the teacher's accuracy that is likely lost; None where it is withheld.
        interval: The ends of its 90 % interval, in [0, 1]; None where it is withheld.
        withheld: Why no drop is predicted, in words; None where one is.
    """

    drop: float | None
    interval: tuple[float, float] | None
    withheld: str | None

    def to_dict(self) -> dict:
        return {
            "predicted_drop": self.drop,
            "drop_interval": self.interval and list(self.interval),
            "withheld": self.withheld,
        }


def predict(
    evidence: AnyEvidence,
    batch_norm_deviation: Sequence[float] | None,
    held_out: int,
    *,
    settings: DropEstimateSettings = DropEstimateSettings(),
) -> Prediction:
    """Predicts the drop of a student's accuracy, or says why that cannot be done.

    Args:
        evidence: How the student differs from its teacher on held-out synthetic images.
        batch_norm_deviation: Deviation of the images at each BatchNorm layer
            (`dfq.evaluation.diversity.Diversity.batch_norm_deviation`); None where such statistics do not describe the
            network (`dfq.teacher.Teacher.has_batch_norm`).
        held_out: Number of held-out images that the evidence was made of.
    """
    if not isinstance(evidence, Evidence):
        return Prediction(None, None, "the network is no classifier")
    withheld = why_withheld(evidence, batch_norm_deviation, held_out, settings=settings)
    if withheld:
        return Prediction(None, None, withheld)
    return Prediction(FITTED.drop(evidence), FITTED.interval(evidence), None)


def why_withheld(
    evidence: Evidence,
    batch_norm_deviation: Sequence[float] | None,
    held_out: int,
    *,
    settings: DropEstimateSettings = DropEstimateSettings(),
) -> str | None:
    """Returns in words why no drop is predicted; None where one is.

    The evidence tells nothing where nobody knows how far the images are from the training data, where they are known
    to be far, where there are few of them, or where both networks give one and the same answer to nearly all far
    images.
    """
    if not batch_norm_deviation:
        return (
            "where BatchNorm statistics do not describe the network, nothing tells how close the synthetic images are "
            "to the training data"
        )
    deviation = sum(batch_norm_deviation) / len(batch_norm_deviation)
    if deviation > settings.max_deviation:
        return (
            f"the synthetic images are too far from the BatchNorm statistics (mean deviation {deviation:.2g}, at most "
            f"{settings.max_deviation:g})"
        )
    if held_out < settings.min_held_out:
        return f"{held_out} held-out synthetic images are too few (at least {settings.min_held_out}: more --images)"
    if min(evidence.far_share, evidence.far_agreement) > settings.max_alike:
        return "the network gives one and the same answer to nearly all images that look like nothing"
    return None
