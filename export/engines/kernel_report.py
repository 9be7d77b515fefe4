"""Reports what a session runs on integer kernels, what it runs in floating point, and why."""

import tempfile
from collections import Counter
from pathlib import Path

import onnx

from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.engines.settings import EngineSettings

FLOAT = onnx.TensorProto.FLOAT
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
INTEGER_TO_FLOAT = ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits")  # they multiply integers
# These operators have an integer kernel, and so the runtime may fuse them.
FUSIBLE = frozenset(
    [
        "Conv",
        "FusedConv",
        "Gemm",
        "FusedGemm",
        "MatMul",
        "FusedMatMul",
        "Add",
        "Mul",
        "Concat",
        "AveragePool",
        "GlobalAveragePool",
        "Sigmoid",
        "LeakyRelu",
        "Softmax",
        "MaxPool",
        "Where",
    ]
)
ELEMENTWISE = ("Add", "Mul", "Concat")
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu")
# These operators rearrange memory or compute shapes, which is no arithmetic, so that they are not listed.
MOVES = frozenset(
    [
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Identity",
        "Shape",
        "Gather",
        "Slice",
        "Split",
        "Expand",
        "Cast",
        "Constant",
        "ConstantOfShape",
        "ReorderInput",
        "ReorderOutput",
    ]
)
NO_KERNEL = "no integer kernel in ONNX Runtime's CPU provider"
NOT_QUANTIZED_OUTPUT = "its output is not quantized by this scheme"
NOT_QUANTIZED_INPUT = "it reads a tensor in floating point, by the scheme or because integers would not be faster"
NOT_ABSORBED = "the grid after it does not clip where it clips"
NOT_FUSED = "ONNX Runtime did not fuse it with its QuantizeLinear and DequantizeLinear"


def count_nodes(path: str | Path, threads: int = EngineSettings().threads) -> dict:
    """Counts the nodes of the graph that ONNX Runtime makes of a file.

    Returns:
        {"integer": {operator: count}, "float": [{"name", "op", "reason"}]}. The list holds every node that computes in
        floating point. Nodes that only move values are left out, and conversions count as integer.

    Raises:
        DfqError: The runtime does not load the file (see `Engine`).
    """
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        Engine(path, threads, optimized)
        graph = onnx.load(optimized).graph
    types = _Types(graph)
    integer = Counter(node.op_type for node in graph.node if types.is_integer(node))
    islands = [
        {"name": node.name, "op": node.op_type, "reason": _reason(node, types)}
        for node in graph.node
        if types.is_float(node) and node.op_type not in MOVES
    ]
    return {"integer": dict(integer.most_common()), "float": islands}


class _Types:
    """The element type of every tensor of an optimized graph.

    The types are followed from the inputs, because onnx's shape inference does not know the runtime's own operators.
    """

    def __init__(self, graph: onnx.GraphProto):
        self.of: dict[str, int] = {i.name: i.type.tensor_type.elem_type for i in graph.input}
        self.of |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self.constants = {tensor.name for tensor in graph.initializer}
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
            self.of |= dict.fromkeys(node.output, self._output_type(node))

    def _output_type(self, node: onnx.NodeProto) -> int:
        op, inputs = node.op_type, [self.of.get(name, 0) for name in node.input]
        if op in ("DequantizeLinear", *INTEGER_TO_FLOAT):
            return FLOAT
        if op == "QuantizeLinear":
            return inputs[2] if len(inputs) > 2 else onnx.TensorProto.UINT8
        if op == "QGemm" and (len(inputs) < 9 or not node.input[8]):  # it has no zero point of the output
            return FLOAT
        if op in ("Shape", "Size"):
            return onnx.TensorProto.INT64
        if op == "Cast":
            return next(a.i for a in node.attribute if a.name == "to")
        if op in ("Constant", "ConstantOfShape"):
            return next((a.t.data_type for a in node.attribute if a.name == "value"), FLOAT)
        if op == "QLinearConcat":  # its inputs are scale and zero point of the output, and a triple for each tensor
            return inputs[1]
        return inputs[1] if op == "Where" else inputs[0] if inputs else 0

    def is_integer(self, node: onnx.NodeProto) -> bool:
        """Returns whether the node computes with 8-bit integers, or converts to or from them."""
        small = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
        named = node.op_type in (*CONVERSIONS, *INTEGER_TO_FLOAT, "QGemm")
        return named or (self.of[node.output[0]] in small and node.op_type not in MOVES)

    def is_float(self, node: onnx.NodeProto) -> bool:
        return self.of[node.output[0]] == FLOAT and not self.is_integer(node)

    def reads_float(self, node: onnx.NodeProto) -> bool:
        """Returns whether an input is in floating point and not dequantized; weights of matrix layers do not count."""
        names = [name for name in node.input if name and (node.op_type in ELEMENTWISE or name not in self.constants)]
        before = [self.producer.get(name) for name in names]
        return any(producer is None or producer.op_type != "DequantizeLinear" for producer in before)

    def writes_float(self, node: onnx.NodeProto) -> bool:
        readers = self.readers.get(node.output[0], [])
        return not readers or any(reader.op_type != "QuantizeLinear" for reader in readers)


def _reason(node: onnx.NodeProto, types: _Types) -> str:
    if node.op_type in ACTIVATIONS and not types.writes_float(node):
        return NOT_ABSORBED
    if node.op_type not in FUSIBLE and node.op_type not in ACTIVATIONS:
        return NO_KERNEL
    if types.reads_float(node):
        return NOT_QUANTIZED_INPUT
    if types.writes_float(node):
        return NOT_QUANTIZED_OUTPUT
    return NOT_FUSED
