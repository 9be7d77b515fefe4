"""`validate`: does the file in ONNX Runtime do what the student does, and what does that cost?"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.export.engine import Engine
from dfq.export.islands import count_nodes
from dfq.export.latency import median_latencies
from dfq.labelled import Labelled
from dfq.progress import Progress, Silent
from dfq.teacher import Teacher

BATCH_SIZE = 64
GRID = 255  # steps of an 8-bit grid


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What `validate` found. Fractions are in [0, 1]; None where the inputs for it were not given.

    Attributes:
        images: number of (synthetic) images compared.
        agreement: top-1 agreement {onnx_student, student_teacher}, each {synthetic, labelled}: on `images` and on the
            labelled images.
        error_steps: {max, mean} of |runtime − student| over the logits, in steps of the 8-bit grid that spans the
            student's logits on these images: step = (largest − smallest logit) / 255. The logits themselves stay in
            floating point; the step is what an 8-bit output would resolve.
        accuracy: {teacher, student, onnx} on the labelled images.
        size_bytes: {float_onnx, onnx}.
        latency_ms: {float_onnx, onnx}: medians at batch 1, measured in turns in one process.
        nodes: {integer: {operator: count}, float: [{name, op, reason}]} (see `dfq.export.islands`).
    """

    images: int
    agreement: dict[str, dict[str, float | None]]
    error_steps: dict[str, float]
    accuracy: dict[str, float | None]
    size_bytes: dict[str, int | None]
    latency_ms: dict[str, float | None]
    nodes: dict

    def to_dict(self) -> dict:
        return asdict(self)


def validate(
    path: str | Path,
    student: nn.Module,
    images: Tensor,
    *,
    teacher: Teacher | None = None,
    float_path: str | Path | None = None,
    labelled: Labelled | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> Agreement:
    """Compares an exported file with its student, and with its float twin.

    Args:
        path: the file of `export_onnx`.
        images: normalised, (N, C, H, W); best some that training has not seen.
        teacher: needed with `labelled` (its `input_spec` normalises), and for the student's agreement with it.
        float_path: the file of `export_float_onnx`, for size and latency.
        labelled: real images, only ever reported on.
        threads: of ONNX Runtime.

    Raises:
        DfqError: a missing or damaged file, or images of the wrong shape.
    """
    engine = Engine(path, threads)
    networks = {"onnx": engine.run, "student": _logits_of(student)}
    if teacher is not None:
        networks["teacher"] = _logits_of(teacher.model)
    tell = progress or Silent()
    logits = _run_all(networks, [images[i : i + BATCH_SIZE] for i in range(0, len(images), BATCH_SIZE)], tell)
    on_labelled = _on_labelled(networks, labelled, teacher, tell) if labelled is not None else {}
    return Agreement(
        images=len(images),
        agreement=_agreements({"synthetic": logits, "labelled": on_labelled}),
        error_steps=error_in_steps(logits["onnx"], logits["student"]),
        accuracy=_accuracies(on_labelled, labelled),
        size_bytes={"float_onnx": _size(float_path), "onnx": _size(path)},
        latency_ms=_latencies(engine, float_path, images[:1], threads),
        nodes=count_nodes(path, threads),
    )


def _logits_of(network: nn.Module):
    device = next(network.parameters()).device

    @torch.no_grad()
    def run(images: Tensor) -> np.ndarray:
        return network(images.to(device)).float().numpy(force=True)

    return run


def _run_all(networks: dict, batches: list[Tensor], progress: Progress) -> dict[str, np.ndarray]:
    """Logits (N, classes) by network."""
    logits: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    with progress.task("Comparing with ONNX Runtime", total=len(batches)) as task:
        for batch in batches:
            for name, run in networks.items():
                logits[name].append(run(batch))
            task.advance()
    return {name: np.concatenate(parts) for name, parts in logits.items()}


def _on_labelled(networks: dict, labelled: Labelled, teacher: Teacher | None, progress: Progress) -> dict:
    if teacher is None:
        raise DfqError("labelled images without a teacher", "the teacher, whose input_spec normalises them")
    batches = []
    for start in range(0, len(labelled.images), BATCH_SIZE):
        pixels = torch.from_numpy(labelled.images[start : start + BATCH_SIZE]).permute(0, 3, 1, 2).float() / 255
        batches.append(teacher.input_spec.normalize(pixels))
    return _run_all(networks, batches, progress)


def _agreements(logits: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, float | None]]:
    pairs = {"onnx_student": "onnx", "student_teacher": "teacher"}
    return {
        pair: {kind: _agreement(of_kind, other) for kind, of_kind in logits.items()} for pair, other in pairs.items()
    }


def _agreement(logits: dict[str, np.ndarray], other: str) -> float | None:
    if other not in logits:
        return None
    return float((logits["student"].argmax(1) == logits[other].argmax(1)).mean())


def _accuracies(logits: dict[str, np.ndarray], labelled: Labelled | None) -> dict[str, float | None]:
    names = ("teacher", "student", "onnx")
    if labelled is None:
        return dict.fromkeys(names)
    return {name: float((logits[name].argmax(1) == np.asarray(labelled.labels)).mean()) for name in names}


def error_in_steps(runtime: np.ndarray, student: np.ndarray) -> dict[str, float]:
    """{max, mean} of |runtime − student| (N, classes) in steps of the 8-bit grid over the student's logits."""
    step = max(float(student.max() - student.min()) / GRID, np.finfo(np.float32).tiny)
    difference = np.abs(runtime - student) / step
    return {"max": float(difference.max()), "mean": float(difference.mean())}


def _size(path: str | Path | None) -> int | None:
    return None if path is None else Path(path).stat().st_size


def _latencies(engine: Engine, float_path: str | Path | None, images: Tensor, threads: int) -> dict[str, float | None]:
    engines = {"onnx": engine} | ({} if float_path is None else {"float_onnx": Engine(float_path, threads)})
    return {"float_onnx": None, **median_latencies(engines, images)}
