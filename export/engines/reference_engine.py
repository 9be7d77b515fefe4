"""An ONNX file in onnx's own reference evaluator: slow, without optimization, the tie-breaker on small networks."""

from pathlib import Path

import numpy as np
import onnx

from dfq.export.engines.runner import Runner

LARGEST_SIDE = 64  # pixels
MAX_WEIGHTS = 2_000_000
MAX_IMAGES = 32


class ReferenceEngine(Runner):
    """Every operator as its specification defines it, in NumPy, node by node."""

    engine = "onnx's reference evaluator"

    def __init__(self, path: str | Path):
        from onnx.reference import ReferenceEvaluator  # loads every operator of ONNX

        model = onnx.load(path)
        super().__init__(path, _input_shape(model))
        self._input, self._evaluator = model.graph.input[0].name, ReferenceEvaluator(model, new_ops=[_quick_gelu()])

    def compute(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self._evaluator.run(None, {self._input: images})[0])


def _quick_gelu() -> type:
    """The one operator of a file that is ONNX Runtime's own (see `dfq.quantizers.targets.Target.has_quick_gelu`)."""
    from onnx.reference.op_run import OpRun

    class QuickGelu(OpRun):
        op_domain = "com.microsoft"

        def _run(self, values: np.ndarray, alpha: float) -> tuple[np.ndarray]:
            return ((values / (1 + np.exp(-alpha * values))).astype(values.dtype),)

    return QuickGelu


def too_large(path: str | Path) -> str | None:
    """Why the evaluator would take minutes for this file; None if it would not."""
    model = onnx.load(path)
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    side = max(length or 0 for length in _input_shape(model)[2:])
    if weights <= MAX_WEIGHTS and side <= LARGEST_SIDE:
        return None
    limit = f"{MAX_WEIGHTS / 1e6:.0f} million weights and {LARGEST_SIDE} pixels"
    return f"too slow for this network ({weights / 1e6:.1f} million weights, {side} pixels; at most {limit})"


def _input_shape(model: onnx.ModelProto) -> tuple[int | None, ...]:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
