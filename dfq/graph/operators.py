"""Says what each operator means to an integer kernel: there is one row per operator."""

import operator
from enum import Enum

import torch
from torch import fx, nn
from torch.nn import functional as F

from dfq.graph.channel_relu6 import ChannelReLU6
from dfq.graph.global_pooling import GlobalAveragePool
from dfq.quantizers.quantized_layers import MATRIX_LAYERS

QUANTIZERS = "activation_quantizers"  # name of the module in which a student keeps them


class Kind(Enum):
    """Kinds of operators, by what an integer kernel makes of them."""

    MATRIX = "matrix layer: weights and inputs on integer grids"
    INTEGER = "integer kernel that reads and writes quantized tensors"
    GATE = "integer kernel in the runtimes that have it (`Target.integer_gates`), floating point in the others"
    RELU = "absorbed by the layer before it: clipping at the end of the grid does the same"
    PASS = "moves or selects values: stays on its input's grid"
    FLOAT = "no integer kernel: computed in floating point"


MODULES: dict[type[nn.Module], Kind] = {
    **dict.fromkeys(MATRIX_LAYERS, Kind.MATRIX),
    ChannelReLU6: Kind.RELU,
    GlobalAveragePool: Kind.INTEGER,
}
# Activations that multiply their input by a gate: runtimes compute them in floating point.
SIGMOID_GATED = (F.silu, F.hardswish, torch.ops.aten.gelu.default, torch.ops.aten.mish.default)
ADDITIONS = (operator.add,)
PRODUCTS = (operator.mul,)
FUNCTIONS: dict[object, Kind] = {
    **dict.fromkeys((*ADDITIONS, torch.cat, F.avg_pool2d), Kind.INTEGER),
    **dict.fromkeys((*PRODUCTS, torch.sigmoid), Kind.GATE),
    **dict.fromkeys((F.relu, F.relu6), Kind.RELU),
    **dict.fromkeys((torch.flatten, torch.reshape, torch.transpose, torch.permute, torch.squeeze), Kind.PASS),
    **dict.fromkeys((torch.unsqueeze, torch.chunk, torch.split, torch.unbind, operator.getitem), Kind.PASS),
    **dict.fromkeys((F.max_pool2d, F.pad, F.channel_shuffle, F.pixel_shuffle), Kind.PASS),
    torch.ops.aten.upsample_nearest2d.vec: Kind.PASS,
    torch.ops.aten.leaky_relu.default: Kind.INTEGER,
}


def is_tensor(node: object) -> bool:
    """Returns whether a shape-propagated node produces one tensor, or a tuple of them."""
    return isinstance(node, fx.Node) and node.meta.get("tensor_meta") is not None


def kind_of(node: fx.Node, graph_module: fx.GraphModule) -> Kind:
    """Returns the kind of a node.

    Arithmetic on sizes or with a plain number is FLOAT, and so is padding with a constant other than zero.
    """
    if not is_tensor(node):
        return Kind.FLOAT
    if node.op == "call_module":
        return MODULES.get(type(graph_module.get_submodule(str(node.target))), Kind.FLOAT)
    if node.target is F.pad and not _pads_on_grid(node):
        return Kind.FLOAT
    if node.target in (*ADDITIONS, *PRODUCTS) and not all(is_tensor(argument) for argument in node.args[:2]):
        return Kind.FLOAT
    return FUNCTIONS.get(node.target, Kind.FLOAT) if node.op == "call_function" else Kind.FLOAT


def _pads_on_grid(node: fx.Node) -> bool:
    """Returns whether a call of `F.pad` adds zeros, which every grid holds, or values of the tensor itself."""
    mode = node.kwargs.get("mode", node.args[2] if len(node.args) > 2 else "constant")
    return mode != "constant" or pads_with_zero(node)


def pads_with_zero(node: fx.Node) -> bool:
    """Returns whether a call of `F.pad` adds zeros."""
    mode = node.kwargs.get("mode", node.args[2] if len(node.args) > 2 else "constant")
    value = node.kwargs.get("value", node.args[3] if len(node.args) > 3 else 0)
    return mode == "constant" and value in (None, 0, 0.0)


def is_relu6(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """Returns whether a node is ReLU6, also of rescaled channels (`ChannelReLU6`)."""
    if node.op == "call_module":
        return isinstance(graph_module.get_submodule(str(node.target)), ChannelReLU6)
    return node.target is F.relu6


def is_quantizer(node: fx.Node) -> bool:
    """Returns whether a student's node calls an activation quantizer."""
    return node.op == "call_module" and str(node.target).startswith(f"{QUANTIZERS}.")
