"""An ONNX file in onnx's own reference evaluator, which is slow and optimizes nothing: the judge on small networks."""

from pathlib import Path

import numpy as np
import onnx

from dfq.export.engines.runner import Runner
from dfq.export.engines.settings import ReferenceSettings


class ReferenceEngine(Runner):
    """Runs every operator as its specification defines it, in NumPy, node by node."""

    engine = "onnx's reference evaluator"

    def __init__(self, path: str | Path):
        from onnx.reference import ReferenceEvaluator  # loads every operator of ONNX

        model = onnx.load(path)
        super().__init__(path, _input_shape(model))
        self._input = model.graph.input[0].name
        self._evaluator = ReferenceEvaluator(model, new_ops=[_quick_gelu(), _integer_product()])

    def compute(self, images: np.ndarray) -> list[np.ndarray]:
        return self._evaluator.run(None, {self._input: images})


def _quick_gelu() -> type:
    """Returns the form of SiLU that is ONNX Runtime's own (see `dfq.quantizers.targets.Target.has_quick_gelu`)."""
    from onnx.reference.op_run import OpRun

    class QuickGelu(OpRun):
        op_domain = "com.microsoft"

        def _run(self, values: np.ndarray, alpha: float) -> tuple[np.ndarray]:
            return ((values / (1 + np.exp(-alpha * values))).astype(values.dtype),)

    return QuickGelu


def _integer_product() -> type:
    """Returns the product of integers with a bias (see `dfq.quantizers.targets.Target.has_fused_bias`)."""
    from onnx.reference.op_run import OpRun

    class MatMulIntegerToFloat(OpRun):
        op_domain = "com.microsoft"

        def _run(self, *inputs: np.ndarray | None) -> tuple[np.ndarray]:
            first, second, first_scale, second_scale, *others = inputs
            zero_points, bias = others[:2], others[2] if len(others) > 2 else None
            integers = [values.astype(np.int32) for values in (first, second)]  # type: ignore[union-attr]
            for place, zero_point in enumerate(zero_points):
                integers[place] -= 0 if zero_point is None else zero_point.astype(np.int32)
            product = (integers[0] @ integers[1]).astype(np.float32) * (first_scale * second_scale)  # type: ignore[operator]
            return (product if bias is None else product + bias,)

    return MatMulIntegerToFloat


def too_large(path: str | Path, settings: ReferenceSettings = ReferenceSettings()) -> str | None:
    """Returns why the evaluator would take minutes for this file; None if it would not."""
    model = onnx.load(path)
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    side = max(length or 0 for length in _input_shape(model)[2:])
    if weights <= settings.max_weights and side <= settings.largest_side:
        return None
    limit = f"{settings.max_weights / 1e6:.0f} million weights and {settings.largest_side} pixels"
    return f"too slow for this network ({weights / 1e6:.1f} million weights, {side} pixels; at most {limit})"


def _input_shape(model: onnx.ModelProto) -> tuple[int | None, ...]:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
