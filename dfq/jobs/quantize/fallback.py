"""Never below its own fallback: what a long method ends with is compared with what `instant` has in seconds.

Reconstruction and training are judged block by block, and by images of the recipe that they are fitted to. Where that
misleads (one block that is the whole network, too few images, too little time), a student can end far below the one
that costs seconds. So `auto` makes that one first, holds it, and takes the better of the two in the end.
"""

from dataclasses import dataclass
from math import isfinite

from torch import Tensor, fx

from dfq.calibration import METHODS
from dfq.evaluation.drop_estimate import Evidence, HeldOutEvidence
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.steps_after_ranges import StepContext
from dfq.post_training.steps_before_ranges import prepare
from dfq.quantizers.scheme import Scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.system.budget import Budget
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher

FALLBACK = "instant"


@dataclass(frozen=True)
class FallbackChoice:
    """Which of two students is taken.

    Attributes:
        student: the better one.
        evidence: on it.
        section: of the report: the evidence on both, and the name of the method that was taken.
        note: a sentence for the report and the terminal where it is the fallback; else None.
    """

    student: fx.GraphModule
    evidence: Evidence
    section: dict
    note: str | None


class Fallback:
    """`instant`'s student of the same teacher and scheme, and the evidence on held-out synthetic images.

    Args:
        teacher: as it was handed in, before any method rewrote it.
        scheme: of both students; mixed widths, too.
        images: synthetic, normalised, (N, C, H, W), for what BatchNorm does not tell.
        held_out: synthetic images that no student is fitted to.
    """

    def __init__(self, teacher: Teacher, settings: Settings, scheme: Scheme, images: Tensor, held_out: Tensor):
        self.held_out_evidence = HeldOutEvidence(teacher, held_out, seed=settings.seed)
        self.student = _instant_student(teacher, settings, scheme, images)
        self.evidence = self.held_out_evidence.measure(self.student)

    def against(self, student: fx.GraphModule, method: str, progress: Progress) -> FallbackChoice:
        """The better one of this student and `method`'s, which is in evaluation mode; says so where it is this one."""
        evidence = self.held_out_evidence.measure(student)
        falls_back = is_better(self.evidence, evidence)
        chosen = FALLBACK if falls_back else method
        section = {"chosen": chosen, FALLBACK: self.evidence.to_dict(), method: evidence.to_dict()}
        if not falls_back:
            return FallbackChoice(student, evidence, section, None)
        note = f"auto took {FALLBACK}'s student after all: {_compared(self.evidence, evidence, method)}"
        progress.note(note)
        return FallbackChoice(self.student, self.evidence, section, note)


def _instant_student(teacher: Teacher, settings: Settings, scheme: Scheme, images: Tensor) -> fx.GraphModule:
    method = METHODS[FALLBACK]
    images = images[: method.images]
    student = make_student(teacher, scheme)
    prepared, _ = prepare(student, teacher, images, method.preparations)
    calibrate(student, images, ranges=settings.ranges or method.ranges, seed=settings.seed)
    context = StepContext(student.eval(), prepared, images, Budget(), Silent(), settings.seed, None, trained_next=False)
    for step in method.post_training:
        step(context)
    round_biases_to_kernel_grid(student.eval())
    return student


def is_better(one: Evidence, other: Evidence) -> bool:
    """Whether two of three say so: divergence on images, divergence on mixtures, agreement on images like nothing.

    The images are of the recipe that a long method is fitted to, and speak for it; mixtures and far images do not.
    """
    if not (isfinite(one.divergence) and isfinite(one.mixed_divergence)):
        return False
    votes = (
        not one.divergence >= other.divergence,  # also where the other one's is not a number
        not one.mixed_divergence >= other.mixed_divergence,
        not one.far_agreement <= other.far_agreement,
    )
    return sum(votes) >= 2


def _compared(one: Evidence, other: Evidence, method: str) -> str:
    return (
        f"on held-out synthetic images it differs from the teacher by {one.divergence:.3g} nats, {method}'s by "
        f"{other.divergence:.3g}; on mixtures of them by {one.mixed_divergence:.3g} and {other.mixed_divergence:.3g}; "
        f"on images that look like nothing it agrees with it on {one.far_agreement:.1%}, {method}'s on "
        f"{other.far_agreement:.1%}"
    )
