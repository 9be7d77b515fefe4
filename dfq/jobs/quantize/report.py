"""`report.json` of a quantization: everything that the run measured, assumed and used."""

from collections.abc import Mapping
from dataclasses import dataclass

from dfq.evaluation.diversity import Diversity
from dfq.evaluation.drop_estimate import Evidence, predicted_drop
from dfq.export import processor_warnings
from dfq.jobs.quantize.fit_student import Tuned
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import RunImages
from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.quantizers.scheme import Scheme
from dfq.results import report
from dfq.results.verdict import verdict
from dfq.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a run did and what was measured of it.

    Attributes:
        settings: with the method that was resolved.
        scheme: of the student; with mixed precision, with the chosen widths.
        image_count: of training and held-out images, at the end.
        widths: with mixed precision, what was chosen.
        choice: what `auto` chose and why; None where a person chose.
        coverage: `dfq.student.coverage.Coverage.to_dict()`.
        agreement: `dfq.export.Agreement.to_dict()` of both files.
        float_file: `dfq.export.compare_float_file`.
        seconds: of each stage.
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
    evidence: Evidence
    agreement: dict
    float_file: dict
    seconds: dict


def make_report(run: FinishedRun) -> dict:
    """The content of `report.json`."""
    evidence, tuned = run.evidence, run.tuned
    drop = predicted_drop(evidence, run.diversity.batch_norm_deviation)
    settings = {"method": tuned.method, "scheme": run.scheme.to_dict(), "images": run.image_count}
    return {
        "verdict": [sentence.text for sentence in verdict(run.coverage, run.float_file)],
        "coverage": run.coverage,
        "float_file": run.float_file,
        "arch": run.teacher.arch,
        "input_spec": run.teacher.input_spec.to_dict(),
        **run.agreement,
        "evidence": {**evidence.to_dict(), "predicted_drop": drop},
        "seconds": run.seconds,
        "settings": {**run.settings.to_dict(), **settings},
        "diversity": run.diversity.to_dict(),
        "training": tuned.history.to_dict() if tuned.history else None,
        **tuned.sections,
        "choice": run.choice,
        "mixed_precision": run.widths.to_dict() if run.widths else None,
        "layers": report.layers(tuned.student),
        "seed": run.settings.seed,
        "versions": report.versions(),
        "hardware": report.hardware(run.teacher.device),
        "warnings": _warnings(run),
    }


def _warnings(run: FinishedRun) -> list[str]:
    return [
        *(f"assumed {sentence}" for sentence in run.teacher.assumed),
        *run.images.notes,
        *run.tuned.notes,
        *(run.tuned.history.notes if run.tuned.history else []),
        *(run.widths.doubts(run.agreement["size_bytes"]["onnx"]) if run.widths else []),
        *_agreement_warnings(run.agreement["agreement"]),
        *processor_warnings(),
    ]


def _agreement_warnings(agreement: Mapping) -> list[str]:
    """On a file that does not do what the student did."""
    of_file, of_itself = (agreement[pair] for pair in ("onnx_student", "student_float64"))
    return [
        f"the ONNX file agrees with the student on only {of_file[kind]:.1%} of the {kind} images (expected ≥ 99.8 %); "
        f"the student in float64 agrees with itself on {value:.1%}: what rounding ties alone do in this network"
        for kind, value in of_itself.items()
        if value is not None
    ]
