"""The table of ONNX operators: a row for each that a file may hold."""

from dfq.models.onnx_file.operators.elementwise import ELEMENTWISE
from dfq.models.onnx_file.operators.layers import LAYERS
from dfq.models.onnx_file.operators.pooling import POOLING
from dfq.models.onnx_file.operators.row import Operator
from dfq.models.onnx_file.operators.shapes import SHAPES

OPERATORS: dict[str, Operator] = {**ELEMENTWISE, **LAYERS, **POOLING, **SHAPES}
