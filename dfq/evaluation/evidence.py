"""What is known of a student without any real image: one kind of evidence for classifiers, one for all others."""

from torch import Tensor, nn

from dfq.evaluation.held_out_evidence import Evidence, HeldOutEvidence
from dfq.evaluation.output_evidence import HeldOutOutputs, OutputEvidence
from dfq.teacher import Teacher

AnyEvidence = Evidence | OutputEvidence


def judge_of(teacher: Teacher, held_out: Tensor, *, seed: int = 0) -> HeldOutEvidence | HeldOutOutputs:
    """Returns what measures students of `teacher` on held-out synthetic images (N, C, H, W)."""
    kind = HeldOutEvidence if teacher.is_classifier else HeldOutOutputs
    return kind(teacher, held_out, seed=seed)


def gather_evidence(student: nn.Module, teacher: Teacher, held_out: Tensor, *, seed: int = 0) -> AnyEvidence:
    """Measures how one student differs from its teacher on held-out synthetic images (N, C, H, W)."""
    return judge_of(teacher, held_out, seed=seed).measure(student)


def is_better(one: AnyEvidence, other: AnyEvidence) -> bool:
    """Returns whether `one` is better by at least two of three measures.

    The measures are how far students are off on held-out images, on mixtures of them, and on far images, which look
    like nothing. The held-out images are of the kind that a long method is fitted to, so they flatter it; mixtures and
    far images do not.
    """
    if not one.is_finite:
        return False
    votes = [not mine >= theirs for mine, theirs in zip(one.measures, other.measures, strict=True)]
    return sum(votes) >= 2  # A vote is also cast where the other one's figure is not a number.
