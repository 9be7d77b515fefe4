"""Passes over the exported graph: they pack constants, keep moved values as integers, and give plain names.

`dfq.export.packing.weights` and `dfq.export.packing.biases` pack the constants.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from dfq.export.lowering.integer_weights import IntegerWeights
from dfq.export.packing.biases import pack_biases
from dfq.export.packing.fused_biases import fuse_biases
from dfq.export.packing.initializers import numbers_of
from dfq.export.packing.product_factors import move_factors
from dfq.export.packing.selections import split_selections
from dfq.export.packing.weights import pack_weights
from dfq.quantizers.targets import Target

MOVES = ("Slice", "Pad")
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "Cast")


def apply_integer_layout(model: ir.Model, weights: Mapping[str, IntegerWeights], target: Target) -> None:
    """Runs every pass that `target` wants on `model` in place. `weights` are keyed by the name of the initializer."""
    name_nodes_by_module(model.graph)
    if target.packs_constants:
        pack_weights(model, weights, target)
    if target.integer_operators:
        _move_as_integers(model.graph)
    if target.min_keys and split_selections(model.graph):
        move_factors(model.graph)
        if target.has_fused_bias:
            fuse_biases(model)
    if target.packs_constants:
        pack_biases(model.graph)
        _drop_zero_points(model.graph)
    common.RemoveUnusedNodesPass()(model)
    common.DeduplicateInitializersPass()(model)
    _forget_shapes(model.graph)
    common.ClearMetadataAndDocStringPass()(model)
    common.TopologicalSortPass()(model)
    _shorten_names(model.graph)  # This is the last pass, because the others name what has no name.


def name_nodes_by_module(graph: ir.Graph) -> None:
    """Names each node after the module that wrote it, such as 'layer1.0.conv1/Conv', so that reports are readable."""
    taken: dict[str, int] = {}
    for node in graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "").strip("[]").split(", ")
        called = [scope.strip("'") for scope in scopes]
        module = (called[-2] if len(called) > 1 else "") or called[-1]  # a function outside modules has its own name
        name = f"{module}/{node.op_type}"
        count = taken[name] = taken.get(name, 0) + 1
        node.name = name if count == 1 else f"{name}_{count}"


def _drop_zero_points(graph: ir.Graph) -> None:
    """Leaves out the zero points of a convolution's weights where all are 0; an absent zero point means the same.

    A Gemm keeps its zero points, because it would run in floating point without them.
    """
    for node in [_producer(layer, 1) for layer in graph if layer.op_type == "Conv"]:
        if node is not None and len(node.inputs) == 3 and not numbers_of(node.inputs[2]).any():
            node.resize_inputs(2)


def _forget_shapes(graph: ir.Graph) -> None:
    """Leaves out types and shapes, which readers infer, and the notes on them; they are a tenth of a small file."""
    kept = {*graph.inputs, *graph.outputs}
    for value in [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]:
        if value not in kept:
            value.shape, value.type = None, None
            value.metadata_props.clear()


def _shorten_names(graph: ir.Graph) -> None:
    """Numbers scales, zero points and tensors that are quantized at once; unnames nodes that convert or are folded.

    Names would be 4 % of a file of 2 MB. Layers, their weights and their biases keep their names, which people look
    for. A tensor that stays in floating point is named after its node, because ONNX Runtime names its own nodes after
    tensors.
    """
    folded = _folded(graph)
    converting = [node for node in graph if node.op_type in CONVERSIONS or node.outputs[0] in folded]
    constants = [value for node in converting for value in node.inputs[1:] if value is not None]
    results = [value for node in graph for value in node.outputs if value not in graph.outputs]
    for number, value in enumerate(dict.fromkeys([*results, *constants])):
        node = value.producer()
        if node is None or not node.name or node in converting or _is_converted(value):
            value.name = f"_{number}"
        else:
            value.name = f"{node.name}:{value.index()}" if value.index() else node.name
    for node in converting:
        node.name = None


def _folded(graph: ir.Graph) -> set[ir.Value]:
    """Returns the constants of a graph in topological order, and what is computed from them alone."""
    known = set(graph.initializers.values())
    for node in graph:
        if node.inputs and known.issuperset(value for value in node.inputs if value is not None):
            known.update(node.outputs)
    return known


def _is_converted(value: ir.Value) -> bool:
    return any(user.op_type in CONVERSIONS for user, _ in value.uses())


def _move_as_integers(graph: ir.Graph) -> None:
    """Lets Slice and Pad move integers where DequantizeLinear and QuantizeLinear around them have the same grid.

    The values stay the same. ONNX Runtime has no such rule for Pad, which is in the shortcuts of CIFAR ResNets.
    """
    for quantize in [node for node in graph if node.op_type == "QuantizeLinear"]:
        moves: list[ir.Node] = []
        node = _producer(quantize)
        while node is not None and node.op_type in MOVES and len(node.outputs[0].uses()) == 1:
            moves.append(node)
            node = _producer(node)
        if moves and node is not None and node.op_type == "DequantizeLinear" and _same_grid(node, quantize):
            _rewire(graph, node, moves[::-1], quantize)


def _producer(node: ir.Node, index: int = 0) -> ir.Node | None:
    """Returns the node that computes an input of `node`; None if no node does."""
    source = node.inputs[index]
    return None if source is None else source.producer()


def _same_grid(dequantize: ir.Node, quantize: ir.Node) -> bool:
    if len(dequantize.inputs) != len(quantize.inputs) or len(quantize.inputs) < 3:
        return False  # One of them is signed, without a zero point.
    pairs = zip(dequantize.inputs[1:], quantize.inputs[1:], strict=True)
    return all(a is b or np.array_equal(numbers_of(a), numbers_of(b)) for a, b in pairs)


def _rewire(graph: ir.Graph, dequantize: ir.Node, moves: list[ir.Node], quantize: ir.Node) -> None:
    integers, zero_point = dequantize.inputs[0], dequantize.inputs[2]
    assert zero_point is not None
    moves[0].replace_input_with(0, integers)
    for move in moves:
        move.outputs[0].type = zero_point.type
        if move.op_type == "Pad":  # a zero is the zero point on the integer side
            if len(move.inputs) < 3:
                move.resize_inputs(3)
            move.replace_input_with(2, zero_point)
    quantize.outputs[0].replace_all_uses_with(moves[-1].outputs[0])
    graph.remove(quantize, safe=True)
