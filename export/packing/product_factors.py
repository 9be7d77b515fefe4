"""Moves the factors of products as integers, and lets a quantizer that precedes moves work on fewer conversions.

ONNX Runtime multiplies two activations as integers where a DequantizeLinear stands directly in front of both factors.
Between quantizer and product there are reshapes and transpositions. If they stand between QuantizeLinear and
DequantizeLinear, they move bytes instead of floats, and the runtime has no reason to insert conversions of its own. The
factor of the logits becomes part of a scale.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from dfq.export.packing.initializers import numbers_of

MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")


@dataclass
class _Chain:
    """What leads to a factor: source, moves, QuantizeLinear, moves, DequantizeLinear, moves and multiplications."""

    quantize: ir.Node | None = None
    dequantize: ir.Node | None = None
    moves: list[ir.Node] = field(default_factory=list)
    factors: list[ir.Node] = field(default_factory=list)


def move_factors(graph: ir.Graph) -> None:
    """Rewrites both factors of each MatMul of two quantized activations in place; what it computes stays the same."""
    for product in [node for node in graph if node.op_type == "MatMul"]:
        chains = [_chain(product.inputs[place]) for place in (0, 1)]
        if all(chain.quantize is not None for chain in chains):
            for place, chain in enumerate(chains):
                _rewire(graph, product, place, chain)


def _chain(value: ir.Value | None) -> _Chain:
    found = _Chain()
    node = value.producer() if value is not None else None
    while node is not None and len(node.outputs[0].uses()) == 1 and _extend(found, node):
        source = node.inputs[0]
        node = source.producer() if source is not None else None
    return found


def _extend(chain: _Chain, node: ir.Node) -> bool:
    """Adds a node in front of a chain; returns False where it does not belong to it."""
    if node.op_type in MOVES:
        chain.moves.insert(0, node)
    elif node.op_type == "Mul" and chain.dequantize is None and _is_scalar(node.inputs[1]):
        chain.factors.append(node)
    elif node.op_type == "DequantizeLinear" and chain.dequantize is None:
        chain.dequantize = node
    elif node.op_type == "QuantizeLinear" and chain.dequantize is not None and chain.quantize is None:
        chain.quantize = node
    else:
        return False
    return True


def _is_scalar(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and numbers_of(value).size == 1


def _rewire(graph: ir.Graph, product: ir.Node, place: int, chain: _Chain) -> None:
    quantize, dequantize = chain.quantize, chain.dequantize
    assert quantize is not None and dequantize is not None
    first = next((node for node in (*chain.moves, quantize) if _leads(node, chain)), quantize)
    source = first.inputs[0]
    value = quantize.outputs[0]
    quantize.replace_input_with(0, source)
    for move in chain.moves:
        move.replace_input_with(0, value)
        value = move.outputs[0]
        value.type = quantize.outputs[0].type
    dequantize.replace_input_with(0, value)
    product.replace_input_with(place, dequantize.outputs[0])
    dequantize.outputs[0].type = product.outputs[0].type
    if chain.factors:
        scale = numbers_of(dequantize.inputs[1])
        for node in chain.factors:
            scale = scale * numbers_of(node.inputs[1]).reshape(())
        scaled = ir.val(f"{dequantize.outputs[0].name}.factor", const_value=ir.Tensor(scale.astype(np.float32)))
        graph.register_initializer(scaled)
        dequantize.replace_input_with(1, scaled)


def _leads(node: ir.Node, chain: _Chain) -> bool:
    """Returns whether nothing of the chain stands in front of `node`."""
    inside = {id(each) for each in (*chain.moves, *chain.factors, chain.quantize, chain.dequantize)}
    source = node.inputs[0]
    producer = source.producer() if source is not None else None
    return producer is None or id(producer) not in inside
