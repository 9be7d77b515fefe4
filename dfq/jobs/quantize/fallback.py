"""Compares the student of a long method with the student that `instant` makes in seconds, and takes the better one.

Reconstruction and training are judged block by block, and on images of the kind that they are fitted to. Where that
misleads (one block that is the whole network, too few images, too little time), a student can end far below the one
that costs seconds. So `auto` makes the student of `instant` first, keeps it, and takes the better one at the end.
"""

from dataclasses import dataclass

from torch import Tensor, fx

from dfq.calibration import METHODS
from dfq.evaluation.evidence import AnyEvidence, is_better, judge_of
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.steps_after_ranges import StepContext
from dfq.post_training.steps_before_ranges import prepare
from dfq.quantizers.scheme import Scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.system.exchange import of_first
from dfq.system.progress import Progress
from dfq.system.stage import Stage
from dfq.teacher import Teacher

FALLBACK = "instant"


@dataclass(frozen=True)
class FallbackChoice:
    """Which of two students is taken.

    Attributes:
        student: The better student.
        reference: The teacher, rewritten like the fallback.
        evidence: The evidence on that student.
        section: Section for the report, with the evidence on both and the name of the method that was taken.
        note: A sentence for the report and the terminal where the fallback was taken; else None.
    """

    student: fx.GraphModule
    reference: Teacher
    evidence: AnyEvidence
    section: dict
    note: str | None


class Fallback:
    """The student that `instant` makes of the same teacher and scheme, and the evidence on it.

    Args:
        teacher: The network as it was handed in, before any method rewrote it.
        settings: The settings of the run; its ranges and its seed are used.
        scheme: The scheme of both students, with mixed widths where they were chosen.
        images: Synthetic images, normalised, (N, C, H, W), for what BatchNorm does not tell.
        held_out: Synthetic images that no student is fitted to, normalised, (N, C, H, W).
    """

    def __init__(self, teacher: Teacher, settings: Settings, scheme: Scheme, images: Tensor, held_out: Tensor):
        self.held_out_evidence = judge_of(teacher, held_out, seed=settings.seed)
        self.student, self.reference = _instant_student(teacher, settings, scheme, images)
        self.evidence = self.held_out_evidence.measure(self.student)

    def against(self, student: fx.GraphModule, method: str, progress: Progress) -> FallbackChoice:
        """Returns the better one of this student and another, and reports it where the fallback is better.

        Args:
            student: The student of `method`, in evaluation mode.
            method: Name of the other method.
            progress: Where the note goes if the fallback is taken.
        """
        evidence = self.held_out_evidence.measure(student)
        falls_back = of_first(lambda: is_better(self.evidence, evidence))
        chosen = FALLBACK if falls_back else method
        section = {"chosen": chosen, FALLBACK: self.evidence.to_dict(), method: evidence.to_dict()}
        if not falls_back:
            return FallbackChoice(student, self.reference, evidence, section, None)
        note = f"auto took {FALLBACK}'s student after all: {self.evidence.against(evidence, method)}"
        progress.note(note)
        return FallbackChoice(self.student, self.reference, self.evidence, section, note)


def _instant_student(
    teacher: Teacher, settings: Settings, scheme: Scheme, images: Tensor
) -> tuple[fx.GraphModule, Teacher]:
    """Returns the student, and the teacher rewritten like it."""
    method = METHODS[FALLBACK]
    images = images[: method.images]
    student = make_student(teacher, scheme)
    prepared, _ = prepare(student, teacher, images, method.preparations)
    ranges, stage = settings.ranges or method.ranges, Stage(seed=settings.seed)
    calibrate(student, images, ranges=ranges, seed=settings.seed)
    context = StepContext(student.eval(), prepared, images, stage, trained_next=False, ranges=ranges)
    for step in method.post_training:
        step(context)
    round_biases_to_kernel_grid(student.eval())
    return student, prepared
