"""`EngineAgreement`: how one engine that runs an exported file compares with the student that it came from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dfq.export.validation.output_agreement import snr_db
from dfq.export.validation.run_networks import rows
from dfq.graph.outputs import as_tuple, is_whole
from dfq.teacher.answers import answers, same_answers

GRID = 255  # number of steps of an 8-bit grid


@dataclass(frozen=True, kw_only=True)
class EngineAgreement:
    """One engine's row. Fractions are in [0, 1]; None where the inputs were not given or the engine does not tell.

    Attributes:
        engine: Key of `dfq.export.engines.table.ENGINES`.
        skipped: Why the engine did not run; all else is then empty. None: it ran.
        images: {synthetic, labelled, pictures}: number of images that it was compared on; absent: none.
        agreement: {synthetic, labelled, pictures}: top-1 agreement with the student of a classifier.
        snr_db: {synthetic, labelled, pictures}: signal-to-noise ratio against the student in dB, of the output that is
            furthest off.
        error_steps: {max, mean}: error on the synthetic images (see `error_in_steps`).
        accuracy: Accuracy on the labelled images.
        latency_ms: Median time of one image in milliseconds, measured in turns with the other engines in one process.
        float_nodes: [{name, op, reason}] of the nodes that it computes in floating point.
    """

    engine: str
    skipped: str | None = None
    images: dict[str, int] | None = None
    agreement: dict[str, float | None] | None = None
    snr_db: dict[str, float | None] | None = None
    error_steps: dict[str, float] | None = None
    accuracy: float | None = None
    latency_ms: float | None = None
    float_nodes: list[dict] | None = None

    def to_dict(self) -> dict:
        return asdict(self)


def measure_engine_agreement(
    engine: str,
    found: Mapping[str, Mapping[str, Any]],
    labels: np.ndarray | None,
    latency_ms: float | None,
    float_nodes: list[dict] | None,
    boundary: float | None = 0.0,
) -> EngineAgreement:
    """Compares an engine with the student.

    Args:
        engine: Name of the engine.
        found: What each network gives, by kind of image and by network (the engine's name, "student"). An engine may
            have computed only the first few images.
        labels: Labels of the labelled images; None: there are none.
        latency_ms: Median time of one image in milliseconds; None: it was not measured.
        float_nodes: The nodes that the engine computes in floating point; None: it does not tell.
        boundary: Value at which a single logit separates two classes (`dfq.teacher.answers`); None: the outputs are no
            logits, and have no answers.
    """
    own = {kind: of_kind[engine] for kind, of_kind in found.items() if engine in of_kind}
    counts = {kind: len(as_tuple(given)[0]) for kind, given in own.items()}
    student = {kind: rows(found[kind]["student"], count) for kind, count in counts.items()}
    answered = own if boundary is not None else {}
    return EngineAgreement(
        engine=engine,
        images=counts,
        agreement={
            kind: same_answers(own[kind], student[kind], boundary or 0.0) if kind in answered else None
            for kind in found
        },
        snr_db={kind: lowest_snr(own[kind], student[kind]) if kind in own else None for kind in found},
        error_steps=error_in_steps(own["synthetic"], student["synthetic"]),
        accuracy=None
        if labels is None or boundary is None
        else float((answers(own["labelled"], boundary) == labels[: len(own["labelled"])]).mean()),
        latency_ms=latency_ms,
        float_nodes=float_nodes,
    )


def lowest_snr(found: Any, student: Any) -> float | None:
    """Returns the signal-to-noise ratio in dB of the output that is furthest off; None where all are whole numbers."""
    pairs = zip(as_tuple(found), as_tuple(student), strict=True)
    return min((ratio for pair in pairs if (ratio := snr_db(*pair)) is not None), default=None)


def error_in_steps(runtime: Any, student: Any) -> dict[str, float]:
    """Returns max and mean of |runtime − student| in steps of the 8-bit grid over the student's output.

    Of several outputs, that with the largest error counts, and whole numbers do not.

    Args:
        runtime: What a file gives: an array (N, …), or a tuple of arrays.
        student: What the student gives.
    """
    pairs = [pair for pair in zip(as_tuple(runtime), as_tuple(student), strict=True) if not is_whole(pair[1])]
    return max((_in_steps(*pair) for pair in pairs), key=lambda error: error["max"])


def _in_steps(runtime: np.ndarray, student: np.ndarray) -> dict[str, float]:
    step = max(float(student.max() - student.min()) / GRID, np.finfo(np.float32).tiny)
    difference = np.abs(runtime - student) / step
    return {"max": float(difference.max()), "mean": float(difference.mean())}
