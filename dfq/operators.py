"""What each operator means to an integer kernel: one row per operator."""

import operator
from enum import Enum

import torch
from torch import fx, nn
from torch.nn import functional as F

from dfq.channel_relu6 import ChannelReLU6
from dfq.pooling import GlobalAveragePool
from dfq.quant_layers import MATRIX_LAYERS

QUANTIZERS = "activation_quantizers"  # where a student keeps them


class Kind(Enum):
    MATRIX = "matrix layer: weights and inputs on integer grids"
    INTEGER = "integer kernel that reads and writes quantized tensors"
    GATE = "the same, in the runtimes that have it (`Target.integer_gates`): floating point in the others"
    RELU = "absorbed by the layer before it: clipping at the end of the grid does the same"
    PASS = "moves or selects values: stays on its input's grid"
    FLOAT = "no integer kernel: computed in floating point"


MODULES: dict[type[nn.Module], Kind] = {
    **dict.fromkeys(MATRIX_LAYERS, Kind.MATRIX),
    **dict.fromkeys((nn.ReLU, nn.ReLU6, ChannelReLU6), Kind.RELU),
    **dict.fromkeys((GlobalAveragePool, nn.AvgPool2d), Kind.INTEGER),
    nn.Sigmoid: Kind.GATE,
    **dict.fromkeys((nn.MaxPool2d, nn.Flatten, nn.ZeroPad2d, nn.ChannelShuffle, nn.PixelShuffle), Kind.PASS),
}
FUNCTIONS: dict[object, Kind] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, torch.cat, torch.concat, F.avg_pool2d), Kind.INTEGER),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, torch.sigmoid, F.sigmoid), Kind.GATE),
    **dict.fromkeys((F.relu, F.relu_, F.relu6, torch.relu, torch.relu_), Kind.RELU),
    **dict.fromkeys((torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.squeeze), Kind.PASS),
    **dict.fromkeys((torch.unsqueeze, torch.chunk, torch.split, operator.getitem), Kind.PASS),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d, F.pad, F.channel_shuffle), Kind.PASS),
}
METHODS: dict[str, Kind] = {
    **dict.fromkeys(("add", "add_"), Kind.INTEGER),
    **dict.fromkeys(("mul", "mul_", "sigmoid", "sigmoid_"), Kind.GATE),
    **dict.fromkeys(("relu", "relu_"), Kind.RELU),
    **dict.fromkeys(("view", "reshape", "flatten", "permute", "transpose", "squeeze", "unsqueeze"), Kind.PASS),
    **dict.fromkeys(("chunk", "split", "contiguous", "unflatten"), Kind.PASS),
}


ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")


def is_tensor(node: object) -> bool:
    """Whether a shape-propagated node produces one tensor, or a tuple of them."""
    return isinstance(node, fx.Node) and node.meta.get("tensor_meta") is not None


def kind_of(node: fx.Node, graph_module: fx.GraphModule) -> Kind:
    """The row of a node. FLOAT: arithmetic on sizes or with a plain number, padding with something else than zero."""
    if not is_tensor(node):
        return Kind.FLOAT
    if node.op == "call_module":
        return MODULES.get(type(graph_module.get_submodule(str(node.target))), Kind.FLOAT)
    if node.target is F.pad and not _pads_with_zero(node):
        return Kind.FLOAT
    if node.target in (*ADDITIONS, *PRODUCTS) and not all(is_tensor(argument) for argument in node.args[:2]):
        return Kind.FLOAT
    if node.op == "call_method":
        return METHODS.get(str(node.target), Kind.FLOAT)
    return FUNCTIONS.get(node.target, Kind.FLOAT) if node.op == "call_function" else Kind.FLOAT


def _pads_with_zero(node: fx.Node) -> bool:
    mode = node.kwargs.get("mode", node.args[2] if len(node.args) > 2 else "constant")
    value = node.kwargs.get("value", node.args[3] if len(node.args) > 3 else 0)
    return mode == "constant" and value in (None, 0, 0.0)


def is_relu6(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    if node.op == "call_module":
        return isinstance(graph_module.get_submodule(str(node.target)), nn.ReLU6)
    return node.target is F.relu6


def is_quantizer(node: fx.Node) -> bool:
    """Whether a student's node calls an activation quantizer."""
    return node.op == "call_module" and str(node.target).startswith(f"{QUANTIZERS}.")
