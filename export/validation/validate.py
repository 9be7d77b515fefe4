"""`validate` compares a file in ONNX Runtime with its student, says what it costs, and asks other engines."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.engines.table import ENGINES, MAIN, Opened, open_engines
from dfq.export.validation.compared import ComparedImages, ExportedFiles
from dfq.export.validation.latency import median_latencies
from dfq.export.validation.rounding_ties import agreement_with_itself
from dfq.export.validation.second_opinion import EngineAgreement, error_in_steps, measure_engine_agreement
from dfq.export.validation.settings import LatencySettings, ValidationSettings
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import Labelled
from dfq.system.compute_dtype import exact_float32
from dfq.system.progress import Progress, Silent
from dfq.teacher.answers import answers, boundary_of, same_answers

Network = Callable[[Tensor], np.ndarray]
Logits = dict[str, np.ndarray]


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
        images: Number of synthetic images that were compared.
        agreement: {onnx_student, student_teacher, student_float64}, each {synthetic, labelled}: top-1 agreement of two
            networks on both kinds of images. `student_float64` (see `dfq.export.validation.rounding_ties`) is measured
            where `onnx_student` is below `ValidationSettings.min_agreement`, and is None elsewhere.
        error_steps: {max, mean} of |runtime − student| over the logits, in steps of the 8-bit grid that spans the
            student's logits on these images: step = (largest − smallest logit) / 255. The logits themselves stay in
            floating point; the step is what an 8-bit output would resolve.
        accuracy: {teacher, student, onnx}: accuracy on the labelled images.
        size_bytes: {float_onnx, onnx}: size of each file in bytes.
        latency_ms: {float_onnx, onnx}: median time of one image in milliseconds, measured in turns in one process.
        nodes: {integer: {operator: count}, float: [{name, op, reason}]} (see `dfq.export.engines.kernel_report`).
        engines: One row per engine that was asked (see `dfq.export.validation.second_opinion.EngineAgreement`).
    """

    images: int
    agreement: dict[str, dict[str, float | None]]
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
    threads = settings.threads
    opened = open_engines(files.onnx, settings.engines, images.synthetic, threads)
    networks: dict[str, Network] = {name: runner.run for name, runner in opened.runners.items()}
    networks["student"] = _outputs_of(student, softmax=files.softmax)
    if teacher is not None:
        networks["teacher"] = _outputs_of(teacher.model)
    tell = progress or Silent()
    batches = {"synthetic": list(images.synthetic.split(settings.batch_size))}
    if images.labelled is not None:
        batches["labelled"] = _normalized(images.labelled, teacher, settings.batch_size)
    both: dict[str, Logits] = {"synthetic": {}, "labelled": {}}
    both |= {kind: _run_all(networks, of_kind, tell) for kind, of_kind in batches.items()}
    latency = _latencies(opened, files.float_onnx, images.synthetic[:1], threads, settings.latency)
    nodes = count_nodes(files.onnx, threads)
    boundary = boundary_of(student)
    labels = None if images.labelled is None else np.asarray(images.labelled.labels)
    return Agreement(
        images=len(images.synthetic),
        agreement=_agreements(both, student, batches, settings, tell),
        error_steps=error_in_steps(both["synthetic"][MAIN], both["synthetic"]["student"]),
        accuracy=_accuracies(both["labelled"], labels, boundary),
        size_bytes={"float_onnx": _size(files.float_onnx), "onnx": _size(files.onnx)},
        latency_ms={"float_onnx": latency.get("float_onnx"), "onnx": latency[MAIN]},
        nodes=nodes,
        engines=_opinions(opened, both, labels, latency, nodes["float"], boundary),
    )


def _outputs_of(network: nn.Module, *, softmax: bool = False) -> Network:
    """Returns what a network in torch gives, with the softmax behind it that its file has."""
    device = next(network.parameters()).device

    @torch.no_grad()
    def run(images: Tensor) -> np.ndarray:
        logits = network(images.to(device)).float()
        return (torch.softmax(logits, 1) if softmax else logits).numpy(force=True)

    return run


def _run_all(networks: Mapping[str, Network], batches: list[Tensor], progress: Progress) -> Logits:
    """Returns the logits (N, classes) by network; a slow engine computes only the first rows."""
    logits: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    with progress.task("Comparing with ONNX Runtime", total=len(batches)) as task:
        for batch in batches:
            for name, run in networks.items():
                row = ENGINES.get(name)
                most = row.most_images if row is not None else None
                room = len(batch) if most is None else most - sum(map(len, logits[name]))
                if room > 0:
                    logits[name].append(run(batch[:room]))
            task.advance()
    return {name: np.concatenate(parts) for name, parts in logits.items()}


def _normalized(labelled: Labelled, teacher: Original | None, batch_size: int) -> list[Tensor]:
    if teacher is None:
        raise DfqError("labelled images without a teacher", "the teacher, whose input_spec normalises them")
    pixels = torch.from_numpy(labelled.images).split(batch_size)
    return [teacher.input_spec.normalize(part.permute(0, 3, 1, 2).float() / 255) for part in pixels]


def _opinions(
    opened: Opened,
    logits: Mapping[str, Logits],
    labels: np.ndarray | None,
    latency: Mapping[str, float],
    float_nodes: list[dict],
    boundary: float,
) -> list[EngineAgreement]:
    """Returns one row per engine, in the order of the table; `float_nodes` are those of the main engine."""
    rows = {name: EngineAgreement(engine=name, skipped=reason) for name, reason in opened.skipped.items()}
    for name, runner in opened.runners.items():
        found = float_nodes if name == MAIN else ENGINES[name].float_nodes(runner)
        rows[name] = measure_engine_agreement(name, logits, labels, latency.get(name), found, boundary)
    return [rows[name] for name in ENGINES if name in rows]


def _agreements(
    logits: Mapping[str, Logits],
    student: nn.Module,
    batches: Mapping[str, list[Tensor]],
    settings: ValidationSettings,
    progress: Progress,
) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {"onnx_student": {}, "student_teacher": {}, "student_float64": {}}
    boundary = boundary_of(student)
    for kind, of_kind in logits.items():
        for pair, other in (("onnx_student", MAIN), ("student_teacher", "teacher")):
            found[pair][kind] = same_answers(of_kind["student"], of_kind[other], boundary) if other in of_kind else None
        of_file = found["onnx_student"][kind]
        is_doubtful = of_file is not None and of_file < settings.min_agreement
        found["student_float64"][kind] = (
            agreement_with_itself(student, batches[kind], of_kind["student"], progress, settings.rounding_ties)
            if is_doubtful
            else None
        )
    return found


def _accuracies(logits: Logits, labels: np.ndarray | None, boundary: float) -> dict[str, float | None]:
    names = {"teacher": "teacher", "student": "student", "onnx": MAIN}
    if labels is None:
        return dict.fromkeys(names)
    return {name: float((answers(logits[key], boundary) == labels).mean()) for name, key in names.items()}


def _size(path: str | Path | None) -> int | None:
    return None if path is None else Path(path).stat().st_size


def _latencies(
    opened: Opened, float_path: str | Path | None, images: Tensor, threads: int, settings: LatencySettings
) -> dict[str, float]:
    timed = {name: runner for name, runner in opened.runners.items() if ENGINES[name].is_timed}
    twin = {} if float_path is None else {"float_onnx": Engine(float_path, threads)}
    return median_latencies({**timed, **twin}, images, settings)
