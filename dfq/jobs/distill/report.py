"""The `report.json` of a distillation: the keys of `dfq quantize` where they apply, and the two networks."""

from dataclasses import dataclass

from torch import zeros

from dfq.graph.features import features_of
from dfq.jobs.context import JobContext
from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.distill.student import FloatStudent, count_parameters
from dfq.jobs.distill.train import Trained
from dfq.results import report
from dfq.teacher import Teacher

SCHEMA_VERSION = 1  # It rises when a key of `dfq/results/distillation.schema.json` changes its meaning or goes.


@dataclass(frozen=True, kw_only=True)
class DistillationReport(report.JobReport):
    """The content of `report.json` of a distillation; each field is the key of the same name.

    The JSON Schema describes the keys. In `agreement`, `accuracy`, `size_bytes` and `latency_ms`, `student` and `onnx`
    are the distilled network in floating point, and `float_onnx` is the teacher.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = "distilled"
    student: str
    start: str
    parameters: dict[str, int]
    stages: dict[str, int]
    training: dict


def make_report(
    student: FloatStudent,
    context: JobContext[DistillSettings, DistillFolder],
    trained: Trained,
    measured: dict,
    reserved: float,
) -> DistillationReport:
    """Brings together everything that a distillation measured, assumed and used.

    Args:
        student: The student after training.
        context: The job.
        trained: What training left besides the student.
        measured: What was measured of the exported files (`dfq.export.Agreement.to_dict`), with the evidence.
        reserved: Seconds of the budget that were kept for the end.
    """
    teacher, settings = context.teacher, context.settings
    return DistillationReport(
        arch=teacher.arch,
        student=student.arch,
        start="teacher" if student.inherited else "random",
        parameters={"teacher": count_parameters(teacher.model), "student": student.parameter_count},
        stages=_stages(teacher, student),
        input_spec=teacher.input_spec.to_dict(),
        **measured,
        seconds=context.clock.to_dict(),
        budget=report.budget(settings.budget, reserved),
        settings={**settings.to_dict(), "images": trained.images},
        diversity=trained.diversity.to_dict(),
        knowledge=trained.knowledge,
        training=trained.history.to_dict(),
        seed=settings.seed,
        versions=report.versions(),
        hardware=report.hardware(teacher.device),
        warnings=[*(f"assumed {sentence}" for sentence in teacher.assumed), *trained.notes, *trained.history.notes],
    )


def _stages(teacher: Teacher, student: FloatStudent) -> dict[str, int]:
    """Counts the student's feature maps, and those that can be compared with one of the teacher's."""
    images = zeros(2, *teacher.input_spec.size, device=teacher.device)
    found = features_of(student.graph.eval())(images)
    return {"student": len(found.stages), "comparable": len(found.stages_alike(teacher.features(images)))}
