"""Writes linear layers with a bias as ONNX Runtime's own MatMulIntegerToFloat, which adds the bias in the same pass.

From QuantizeLinear, DequantizeLinear, MatMul and Add, the runtime itself makes that operator without a bias, and an Add
that reads and writes the whole output once more.
"""

import onnx_ir as ir

from dfq.export.packing.initializers import numbers_of

DOMAIN = "com.microsoft"  # of ONNX Runtime's own operators
VERSION = 1


def fuse_biases(model: ir.Model) -> None:
    """Rewrites each MatMul of a quantized activation by integer weights and the Add behind it, in place."""
    graph = model.graph
    for product in [node for node in graph if node.op_type == "MatMul"]:
        features, weights = (value.producer() if value is not None else None for value in product.inputs)
        users = [user for user, _ in product.outputs[0].uses()]
        if len(users) != 1 or users[0].op_type != "Add" or not (_dequantizes(features) and _dequantizes(weights)):
            continue
        bias = next((value for value in users[0].inputs if value is not product.outputs[0]), None)
        if bias is None or bias.const_value is None or len(bias.const_value.shape) != 1 or _is_moved(weights):
            continue
        _fuse(graph, (features, weights), product, users[0], bias)
        model.opset_imports[DOMAIN] = VERSION


def _dequantizes(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "DequantizeLinear" and len(node.inputs) == 3


def _is_moved(weights: ir.Node) -> bool:
    """Returns whether the second factor is computed from the images."""
    value = weights.inputs[0]
    while value is not None and not value.is_initializer():
        node = value.producer()
        if node is None or node.op_type not in ("Cast", "Mul", "Sub"):
            return True
        value = node.inputs[0]
    return value is None


def _fuse(graph: ir.Graph, sources: tuple, product: ir.Node, added: ir.Node, bias: ir.Value) -> None:
    features, weights = sources
    zero_point = weights.inputs[2] if numbers_of(weights.inputs[2]).any() else None
    inputs = [
        *(features.inputs[0], weights.inputs[0], features.inputs[1], weights.inputs[1]),
        *(features.inputs[2], zero_point, bias),
    ]
    fused = ir.node("MatMulIntegerToFloat", inputs, domain=DOMAIN, name=f"{product.name}")
    graph.insert_before(added, fused)
    added.outputs[0].replace_all_uses_with(fused.outputs[0], replace_graph_outputs=True)
    graph.remove(added, safe=True)
    graph.remove(product, safe=True)
