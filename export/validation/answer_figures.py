"""Figures on the answers of classifiers: how often two networks give the same class, and how often it is right."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from dfq.export.engines.table import MAIN
from dfq.export.validation.rounding_ties import agreement_with_itself
from dfq.export.validation.run_networks import Found, rows
from dfq.export.validation.settings import ValidationSettings
from dfq.system.progress import Progress
from dfq.teacher.answers import answers, boundary_of, same_answers

Figures = dict[str, dict[str, float | None]]


def agreements(
    found: Mapping[str, Found],
    student: nn.Module,
    batches: Mapping[str, list[Tensor]],
    settings: ValidationSettings,
    progress: Progress,
) -> Figures:
    """Returns the top-1 agreements of `dfq.export.validation.validate.Agreement.agreement`.

    Args:
        found: What each network gives, by kind of image.
        student: The student, to be compared with itself in float64 where its file disagrees with it.
        batches: The images, by kind.
        settings: When a file counts as disagreeing.
        progress: Where the comparison in float64 is reported.
    """
    figures: Figures = {"onnx_student": {}, "student_teacher": {}, "student_float64": {}}
    boundary = boundary_of(student)
    for kind, of_kind in found.items():
        for pair, other in (("onnx_student", MAIN), ("student_teacher", "teacher")):
            figures[pair][kind] = (
                same_answers(rows(of_kind["student"], len(of_kind[other])), of_kind[other], boundary)
                if other in of_kind
                else None
            )
        of_file = figures["onnx_student"][kind]
        is_doubtful = of_file is not None and of_file < settings.min_agreement
        figures["student_float64"][kind] = (
            agreement_with_itself(student, batches[kind], of_kind["student"], progress, settings.rounding_ties)
            if is_doubtful
            else None
        )
    return figures


def accuracies(found: Found, labels: np.ndarray | None, boundary: float | None) -> dict[str, float | None]:
    """Returns the accuracy of teacher, student and file on labelled images; None without labels or classes."""
    names = {"teacher": "teacher", "student": "student", "onnx": MAIN}
    if labels is None or boundary is None:
        return dict.fromkeys(names)
    given = {name: answers(found[key], boundary) for name, key in names.items()}
    return {name: float((answer == labels[: len(answer)]).mean()) for name, answer in given.items()}
