"""The `report.json` of a quantization: everything that the run measured, assumed and used."""

from collections.abc import Mapping
from dataclasses import dataclass

from dfq.evaluation.diversity import Diversity
from dfq.evaluation.drop_estimate import predict
from dfq.evaluation.evidence import AnyEvidence
from dfq.export import ValidationSettings, processor_warnings
from dfq.jobs.quantize.fit_student import Tuned
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import RunImages
from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.quantizers.scheme import Scheme
from dfq.results import report
from dfq.results.output_rows import output_warnings
from dfq.results.verdict import verdict
from dfq.teacher import Teacher

SCHEMA_VERSION = 1  # It rises when a key of `dfq/results/report.schema.json` changes its meaning or goes.


@dataclass(frozen=True, kw_only=True)
class QuantizationReport(report.JobReport):
    """The content of `report.json`; each field is the key of the same name, and the JSON Schema describes it.

    Attributes:
        sections: What the steps of the method report, by name; each becomes a key of its own.
    """

    schema_version: int = SCHEMA_VERSION
    verdict: list[str]
    coverage: dict
    float_file: dict
    training: dict | None
    sections: dict[str, dict]
    choice: str | None
    mixed_precision: dict | None
    layers: list[dict]
    student_digest: str

    def to_dict(self) -> dict:
        content = super().to_dict()
        return content.pop("sections") | content


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a run did, and what was measured of its result.

    Attributes:
        teacher: The network that was quantized.
        settings: The settings of the run, with a method of the table instead of `auto`.
        scheme: The scheme of the student, with the widths that mixed precision chose.
        images: The synthetic images that the run started with.
        image_count: Number of training and held-out images at the end.
        widths: What mixed precision chose; None without mixed precision.
        tuned: The student, and what was done to it.
        choice: What `auto` chose and why; None where the user chose.
        coverage: What runs on integers (`dfq.student.coverage.Coverage.to_dict`).
        diversity: How varied the images are.
        evidence: What held-out synthetic images say about the student.
        layer_errors: The result of `dfq.evaluation.layer_errors.layer_errors`.
        agreement: What was measured of both files (`dfq.export.Agreement.to_dict`).
        float_file: The result of `dfq.export.compare_float_file`.
        seconds: Seconds of each stage, and of all as `total`.
        reserved: Seconds of the budget that were kept for the end of the run.
    """

    teacher: Teacher
    settings: Settings
    scheme: Scheme
    images: RunImages
    image_count: int
    widths: ChosenWidths | None
    tuned: Tuned
    choice: str | None
    coverage: dict
    diversity: Diversity
    evidence: AnyEvidence
    layer_errors: dict[str, float]
    agreement: dict
    float_file: dict
    seconds: dict
    reserved: float


def make_report(run: FinishedRun) -> QuantizationReport:
    """Brings together everything that a run measured, assumed and used."""
    evidence, tuned = run.evidence, run.tuned
    deviation = run.diversity.batch_norm_deviation if run.teacher.has_batch_norm else None
    settings = {"method": tuned.method, "scheme": run.scheme.to_dict(), "images": run.image_count}
    return QuantizationReport(
        verdict=[sentence.text for sentence in verdict(run.coverage, run.float_file)],
        coverage=run.coverage,
        float_file=run.float_file,
        arch=run.teacher.arch,
        input_spec=run.teacher.input_spec.to_dict(),
        **run.agreement,
        evidence={**evidence.to_dict(), **predict(evidence, deviation, len(run.images.held_out)).to_dict()},
        knowledge=run.images.knowledge,
        seconds=run.seconds,
        budget=report.budget(run.settings.budget, run.reserved),
        settings={**run.settings.to_dict(), **settings},
        diversity=run.diversity.to_dict(),
        training=tuned.history.to_dict() if tuned.history else None,
        sections=tuned.sections,
        choice=run.choice,
        mixed_precision=run.widths.to_dict() if run.widths else None,
        layers=[{**row, "snr_db": run.layer_errors.get(row["name"])} for row in report.layers(tuned.student)],
        student_digest=tuned.digest,
        seed=run.settings.seed,
        versions=report.versions(),
        hardware=report.hardware(run.teacher.device),
        warnings=_warnings(run),
    )


def _warnings(run: FinishedRun) -> list[str]:
    return [
        *(f"assumed {sentence}" for sentence in run.teacher.assumed),
        *run.images.notes,
        *run.tuned.notes,
        *(run.tuned.history.notes if run.tuned.history else []),
        *(run.widths.doubts(run.agreement["size_bytes"]["onnx"]) if run.widths else []),
        *_agreement_warnings(run.agreement["agreement"]),
        *_output_warnings(run),
        *processor_warnings(),
    ]


def _output_warnings(run: FinishedRun) -> list[str]:
    least = ValidationSettings().min_snr_db
    return [] if run.teacher.is_classifier else output_warnings(run.agreement["outputs"], least)


def _agreement_warnings(agreement: Mapping) -> list[str]:
    """Returns a warning for each kind of image on which the file does not do what the student does."""
    of_file, of_itself = (agreement[pair] for pair in ("onnx_student", "student_float64"))
    return [
        f"the ONNX file agrees with the student on only {of_file[kind]:.1%} of the {kind} images (expected ≥ 99.8 %); "
        f"the student in float64 agrees with itself on {value:.1%}: what rounding ties alone do in this network"
        for kind, value in of_itself.items()
        if value is not None
    ]
