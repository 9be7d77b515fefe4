"""`validate` compares a file in ONNX Runtime with its student, says what it costs, and asks other engines."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.engines.table import ENGINES, MAIN, Opened, open_engines
from dfq.export.validation.answer_figures import Figures, accuracies, agreements
from dfq.export.validation.compared import ComparedImages, ExportedFiles
from dfq.export.validation.doubtful_answers import why_doubtful
from dfq.export.validation.latency import median_latencies
from dfq.export.validation.original_file import ORIGINAL, original_file
from dfq.export.validation.output_agreement import OutputAgreement, compare_outputs
from dfq.export.validation.rounding_ties import in_double_precision
from dfq.export.validation.run_networks import Found, Network, in_memory, in_torch, run_all
from dfq.export.validation.second_opinion import (
    EngineAgreement,
    error_in_steps,
    lowest_snr,
    measure_engine_agreement,
)
from dfq.export.validation.settings import LatencySettings, ValidationSettings
from dfq.graph.outputs import as_tuple
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import Labelled
from dfq.system.compute_dtype import exact_float32
from dfq.system.progress import Progress, Silent
from dfq.teacher.answers import boundary_of

KINDS = ("synthetic", "labelled", "pictures")  # kinds of images
NETWORKS = {"onnx": MAIN, **{name: name for name in ("student", "teacher", "student_float64")}}  # as they are run


class Original(Protocol):
    """What a student is compared with: a `dfq.teacher.Teacher`, or another object with these two attributes."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def input_spec(self) -> InputSpec: ...


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What `validate` found. Fractions are in [0, 1]; None where the inputs for it were not given.

    Attributes:
        images: Number of held-out synthetic images, on which the student is compared with the teacher. The file is
            compared with the student on more (`engines` says on how many).
        agreement: {onnx_student, student_teacher, student_float64}, each {synthetic, labelled, pictures}: top-1
            agreement of two classifiers on each kind of image. `student_float64` (see
            `dfq.export.validation.rounding_ties`) is measured where `onnx_student` is below
            `ValidationSettings.min_agreement`, and is None elsewhere.
        doubt: Why the student's agreement with the teacher on synthetic images says nothing, in words; None where it
            says something.
        outputs: One row for each output, in dB (see `dfq.export.validation.output_agreement.OutputAgreement`).
        error_steps: {max, mean} of |runtime − student| over the outputs, in steps of the 8-bit grid that spans the
            student's output on these images: step = (largest − smallest value) / 255. The output that is furthest off
            counts. The outputs themselves stay in floating point; the step is what an 8-bit output would resolve.
        accuracy: {teacher, student, onnx}: accuracy on the labelled images.
        size_bytes: {float_onnx, onnx}: size of each file in bytes.
        latency_ms: {float_onnx, onnx}: median time of one image in milliseconds, measured in turns in one process.
        nodes: {integer: {operator: count}, float: [{name, op, reason}]} (see `dfq.export.engines.kernel_report`).
        engines: One row per engine that was asked (see `dfq.export.validation.second_opinion.EngineAgreement`).
    """

    images: int
    agreement: Figures
    doubt: str | None
    outputs: list[OutputAgreement]
    error_steps: dict[str, float]
    accuracy: dict[str, float | None]
    size_bytes: dict[str, int | None]
    latency_ms: dict[str, float | None]
    nodes: dict
    engines: list[EngineAgreement] = field(default_factory=list)

    def to_dict(self) -> dict:
        return asdict(self)


@exact_float32()
def validate(
    files: ExportedFiles,
    student: nn.Module,
    images: ComparedImages,
    teacher: Original | None = None,
    settings: ValidationSettings = ValidationSettings(),
    progress: Progress | None = None,
) -> Agreement:
    """Compares an exported file with its student, and with its float twin.

    Args:
        files: The exported files.
        student: The student that the file was written from.
        images: The images that are compared on.
        teacher: Needed with labelled images, because its `input_spec` normalises them, and for the student's agreement
            with it.
        settings: How they are compared.
        progress: Where the comparison is reported.

    Raises:
        DfqError: A file is missing or damaged, or images have the wrong shape.
    """
    threads, tell = settings.threads, progress or Silent()
    opened = open_engines(files.onnx, settings.engines, images.synthetic, threads)
    networks: dict[str, Network] = {name: runner.run for name, runner in opened.runners.items()}
    networks["student"] = in_torch(student, softmax=files.softmax)
    if teacher is not None:
        networks["teacher"] = in_torch(teacher.model, softmax=files.softmax)
    if files.original is not None:
        networks[ORIGINAL] = original_file(files.original, images.synthetic)
    batches = _batches(images, teacher, networks["student"], settings)
    held_out = min(len(images.synthetic), sum(map(len, batches["synthetic"])))
    limits = {"synthetic": {"teacher": held_out, ORIGINAL: held_out}}
    found = {
        kind: run_all(networks, batches[kind], tell, limits.get(kind)) if kind in batches else {} for kind in KINDS
    }
    if not files.is_classifier and _is_doubtful(found["synthetic"], settings):
        found["synthetic"]["student_float64"] = in_double_precision(
            student, batches["synthetic"], tell, settings.rounding_ties
        )
    latency = _latencies(opened, files.float_onnx, images.synthetic[:1], threads, settings.latency)
    nodes = count_nodes(files.onnx, threads)
    boundary = boundary_of(student) if files.is_classifier else None
    labels = None if images.labelled is None else np.asarray(images.labelled.labels)
    return Agreement(
        images=held_out,
        agreement=agreements(found, student, batches, settings, tell)
        if files.is_classifier
        else {pair: dict.fromkeys(KINDS) for pair in ("onnx_student", "student_teacher", "student_float64")},
        doubt=_doubt(found["synthetic"], files, boundary, settings),
        outputs=_outputs(files.onnx, found, images.synthetic),
        error_steps=error_in_steps(found["synthetic"][MAIN], found["synthetic"]["student"]),
        accuracy=accuracies(found["labelled"], labels, boundary),
        size_bytes={"float_onnx": _size(files.float_onnx), "onnx": _size(files.onnx)},
        latency_ms={"float_onnx": latency.get("float_onnx"), "onnx": latency[MAIN]},
        nodes=nodes,
        engines=_opinions(opened, found, labels, latency, nodes["float"], boundary),
    )


def _is_doubtful(found: Found, settings: ValidationSettings) -> bool:
    """Returns whether the file is further from its student than rounding explains in most networks."""
    ratio = lowest_snr(found[MAIN], found["student"])
    return ratio is not None and ratio < settings.min_snr_db


def _doubt(found: Found, files: ExportedFiles, boundary: float | None, settings: ValidationSettings) -> str | None:
    if boundary is None or "teacher" not in found:
        return None
    return why_doubtful(found["teacher"], boundary, settings, softmax=files.softmax)


def _batches(
    images: ComparedImages, teacher: Original | None, run: Network, settings: ValidationSettings
) -> dict[str, list[Tensor]]:
    """Returns the images of each kind that there are, as many as have outputs that memory holds."""
    further = [] if images.further is None else [images.further]
    given = {"synthetic": torch.cat([images.synthetic, *further])}
    if images.labelled is not None:
        given["labelled"] = _normalized(images.labelled, teacher)
    if images.pictures is not None:
        given["pictures"] = images.pictures
    return {kind: list(in_memory(each, run, settings).split(settings.batch_size)) for kind, each in given.items()}


def _normalized(labelled: Labelled, teacher: Original | None) -> Tensor:
    if teacher is None:
        raise DfqError("labelled images without a teacher", "the teacher, whose input_spec normalises them")
    pixels = torch.from_numpy(labelled.images)
    return teacher.input_spec.normalize(pixels.permute(0, 3, 1, 2).float() / 255)


def _outputs(path: Path, found: Mapping[str, Found], images: Tensor) -> list[OutputAgreement]:
    names = [output.name for output in onnx.load(path, load_external_data=False).graph.output]
    arrays = {
        kind: {name: as_tuple(networks[key]) for name, key in NETWORKS.items() if key in networks}
        for kind, networks in found.items()
    }
    return compare_outputs(names, arrays, images.shape[1:])


def _opinions(
    opened: Opened,
    found: Mapping[str, Found],
    labels: np.ndarray | None,
    latency: Mapping[str, float],
    float_nodes: list[dict],
    boundary: float | None,
) -> list[EngineAgreement]:
    """Returns one row per engine, in the order of the table; `float_nodes` are those of the main engine."""
    rows = {name: EngineAgreement(engine=name, skipped=reason) for name, reason in opened.skipped.items()}
    for name, runner in opened.runners.items():
        nodes = float_nodes if name == MAIN else ENGINES[name].float_nodes(runner)
        rows[name] = measure_engine_agreement(name, found, labels, latency.get(name), nodes, boundary)
    ordered = [rows[name] for name in ENGINES if name in rows]
    if ORIGINAL in found["synthetic"]:
        ordered.append(measure_engine_agreement(ORIGINAL, found, labels, None, None, boundary))
    return ordered


def _size(path: str | Path | None) -> int | None:
    return None if path is None else Path(path).stat().st_size


def _latencies(
    opened: Opened, float_path: str | Path | None, images: Tensor, threads: int, settings: LatencySettings
) -> dict[str, float]:
    timed = {name: runner for name, runner in opened.runners.items() if ENGINES[name].is_timed}
    twin = {} if float_path is None else {"float_onnx": Engine(float_path, threads)}
    return median_latencies({**timed, **twin}, images, settings)
