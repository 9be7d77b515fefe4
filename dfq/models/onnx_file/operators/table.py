"""The table of ONNX operators that dfq reads: a row for each, and what becomes of it in a low-bit file."""

from dfq.graph.operators import Kind
from dfq.models.onnx_file.operators.elementwise import ELEMENTWISE
from dfq.models.onnx_file.operators.layers import LAYERS
from dfq.models.onnx_file.operators.pooling import POOLING
from dfq.models.onnx_file.operators.row import Operator
from dfq.models.onnx_file.operators.shapes import SHAPES

OPERATORS: dict[str, Operator] = {**ELEMENTWISE, **LAYERS, **POOLING, **SHAPES}
# What an integer kernel makes of an operator (`dfq.graph.operators`); those that are not here stay in floating point.
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("Conv", "Gemm", "MatMul"), Kind.MATRIX),
    **dict.fromkeys(("Add", "Concat", "AveragePool", "GlobalAveragePool", "LeakyRelu"), Kind.INTEGER),
    **dict.fromkeys(("Mul", "Sigmoid"), Kind.GATE),
    **dict.fromkeys(("Relu", "Clip"), Kind.RELU),
    **dict.fromkeys(("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Pad"), Kind.PASS),
}
FOLDED = ("BatchNormalization",)  # into the layer before it
LEFT_OUT = ("Dropout", "Identity")
