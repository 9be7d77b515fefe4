"""`EngineAgreement`: how one engine that runs an exported file compares with the student that it came from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from dfq.teacher.answers import answers, same_answers

GRID = 255  # number of steps of an 8-bit grid


@dataclass(frozen=True, kw_only=True)
class EngineAgreement:
    """One engine's row. Fractions are in [0, 1]; None where the inputs were not given or the engine does not tell.

    Attributes:
        engine: Key of `dfq.export.engines.table.ENGINES`.
        skipped: Why the engine did not run; all else is then empty. None: it ran.
        images: {synthetic, labelled}: number of images that it was compared on.
        agreement: {synthetic, labelled}: top-1 agreement with the student.
        error_steps: {max, mean}: error on the synthetic images (see `error_in_steps`).
        accuracy: Accuracy on the labelled images.
        latency_ms: Median time of one image in milliseconds, measured in turns with the other engines in one process.
        float_nodes: [{name, op, reason}] of the nodes that it computes in floating point.
    """

    engine: str
    skipped: str | None = None
    images: dict[str, int] | None = None
    agreement: dict[str, float | None] | None = None
    error_steps: dict[str, float] | None = None
    accuracy: float | None = None
    latency_ms: float | None = None
    float_nodes: list[dict] | None = None

    def to_dict(self) -> dict:
        return asdict(self)


def measure_engine_agreement(
    engine: str,
    logits: Mapping[str, Mapping[str, np.ndarray]],
    labels: np.ndarray | None,
    latency_ms: float | None,
    float_nodes: list[dict] | None,
    boundary: float = 0.0,
) -> EngineAgreement:
    """Compares an engine with the student.

    Args:
        engine: Name of the engine.
        logits: Logits (N, classes) by kind of image ("synthetic", "labelled") and by network (the engine's name,
            "student"). An engine may have computed only the first few.
        labels: Labels of the labelled images; None: there are none.
        latency_ms: Median time of one image in milliseconds; None: it was not measured.
        float_nodes: The nodes that the engine computes in floating point; None: it does not tell.
        boundary: Value at which a single logit separates two classes (`dfq.teacher.answers`).
    """
    own = {kind: of_kind[engine] for kind, of_kind in logits.items() if engine in of_kind}
    student = {kind: logits[kind]["student"][: len(values)] for kind, values in own.items()}
    return EngineAgreement(
        engine=engine,
        images={kind: len(values) for kind, values in own.items()},
        agreement={kind: same_answers(own[kind], student[kind], boundary) if kind in own else None for kind in logits},
        error_steps=error_in_steps(own["synthetic"], student["synthetic"]),
        accuracy=None
        if labels is None
        else float((answers(own["labelled"], boundary) == labels[: len(own["labelled"])]).mean()),
        latency_ms=latency_ms,
        float_nodes=float_nodes,
    )


def error_in_steps(runtime: np.ndarray, student: np.ndarray) -> dict[str, float]:
    """Returns max and mean of |runtime − student| (N, classes) in steps of the 8-bit grid over the student's logits."""
    step = max(float(student.max() - student.min()) / GRID, np.finfo(np.float32).tiny)
    difference = np.abs(runtime - student) / step
    return {"max": float(difference.max()), "mean": float(difference.mean())}
