"""`report.json` of a distillation: the keys of `dfq quantize`, where they apply, and the two networks."""

from torch import zeros

from dfq.graph.features import features_of
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.distill.student import FloatStudent, count_parameters
from dfq.jobs.distill.train import Trained
from dfq.results import report
from dfq.system.stage_clock import Clock
from dfq.teacher import Teacher


def make_report(
    teacher: Teacher,
    student: FloatStudent,
    settings: DistillSettings,
    trained: Trained,
    measured: dict,
    clock: Clock,
) -> dict:
    """Everything that the run measured, assumed and used. In `agreement`, `accuracy`, `size_bytes` and `latency_ms`,
    `student` and `onnx` are the distilled network in floating point, `float_onnx` is the teacher.

    Args:
        measured: of the exported files (`dfq.export.Agreement`), with the evidence.
    """
    return {
        "kind": "distilled",
        "arch": teacher.arch,
        "student": student.arch,
        "start": "teacher" if student.inherited else "random",
        "parameters": {"teacher": count_parameters(teacher.model), "student": student.parameter_count},
        "stages": _stages(teacher, student),
        "input_spec": teacher.input_spec.to_dict(),
        **measured,
        "seconds": clock.to_dict(),
        "settings": {**settings.to_dict(), "images": trained.images},
        "diversity": trained.diversity.to_dict(),
        "training": trained.history.to_dict(),
        "seed": settings.seed,
        "versions": report.versions(),
        "hardware": report.hardware(teacher.device),
        "warnings": [*(f"assumed {sentence}" for sentence in teacher.assumed), *trained.notes, *trained.history.notes],
    }


def _stages(teacher: Teacher, student: FloatStudent) -> dict[str, int]:
    """How many feature maps the student has, and how many of them a method that matches features can compare."""
    images = zeros(2, *teacher.input_spec.size, device=teacher.device)
    found = features_of(student.graph.eval())(images)
    return {"student": len(found.stages), "comparable": len(found.stages_alike(teacher.features(images)))}
