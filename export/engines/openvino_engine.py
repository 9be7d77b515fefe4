"""An ONNX file in OpenVINO on the CPU (the optional dependency `dfq-toolkit[openvino]`)."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from dfq.errors import DfqError
from dfq.export.engines.runner import Runner, first_line
from dfq.export.engines.settings import EngineSettings

INT2_REASON = "it knows no INT2 weights; `dfq export --target openvino` stores them in 4 bits"
FLOATS = ("f32", "f16", "bf16")
# These layers of OpenVINO's CPU plugin hold, convert or rearrange values, which is no arithmetic of the network.
NOT_ARITHMETIC = frozenset(
    [
        *("Input", "Output", "Const", "Parameter", "Result", "MemoryInput", "MemoryOutput", "ShapeOf"),
        *("FakeQuantize", "Convert", "Reorder", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Broadcast"),
        *("Gather", "Concatenation", "StridedSlice", "Split", "Pad"),
    ]
)


class OpenVinoEngine(Runner):
    """The file compiled for the CPU.

    Layers in floating point compute in float32. On processors with AMX, OpenVINO would choose bfloat16, whose error is
    larger than that of an 8-bit grid and would be taken for an error of the file.

    Args:
        path: The ONNX file.
        threads: Number of threads.

    Raises:
        DfqError: OpenVINO does not read the file.
    """

    engine = "OpenVINO"

    def __init__(self, path: str | Path, threads: int = EngineSettings().threads):
        import openvino

        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        try:
            self._compiled: Any = openvino.Core().compile_model(str(path), "CPU", options)
        except Exception as error:
            reason = INT2_REASON if _has_int2(path) else first_line(error)
            raise DfqError(f"OpenVINO does not read '{path}': {reason}", exit_code=1) from error
        lengths = self._compiled.input(0).get_partial_shape()
        super().__init__(path, tuple(None if each.is_dynamic else each.get_length() for each in lengths))

    def compute(self, images: np.ndarray) -> list[np.ndarray]:
        found = self._compiled(images)
        return [np.asarray(found[output]) for output in self._compiled.outputs]

    def float_nodes(self) -> list[dict]:
        """Returns name, op and reason of each layer that computes in floating point, as the compiled network tells."""
        found = []
        for layer in self._compiled.get_runtime_model().get_ops():
            notes = {key: layer.get_rt_info()[key].astype(str) for key in ("layerType", "runtimePrecision")
                     if key in layer.get_rt_info()}  # fmt: skip
            kind, precision = notes.get("layerType", ""), notes.get("runtimePrecision", "")
            if precision in FLOATS and kind not in NOT_ARITHMETIC:
                found.append(
                    {"name": layer.get_friendly_name(), "op": kind, "reason": f"OpenVINO runs it in {precision}"}
                )
        return found


def _has_int2(path: str | Path) -> bool:
    return any(tensor.data_type == onnx.TensorProto.INT2 for tensor in onnx.load(path).graph.initializer)
