"""Packs the biases of integer kernels into 2 bytes per channel instead of 12.

Such a bias is INT32 on the grid scale_x · scale_w. The file holds both scales already, so that it need not hold their
product. Most biases fit into INT16. Their zero point is 0 and may be absent. The runtime folds Mul and Cast when it
loads the file.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from dfq.export.lowering.onnx_modules import INTEGERS
from dfq.export.packing.initializers import numbers_of

INT16 = np.iinfo(np.int16)


def pack_biases(graph: ir.Graph) -> None:
    """Rewrites every DequantizeLinear of an INT32 initializer in place; what it computes stays the same."""
    biases = dict(_biases(graph)).items()
    for dequantize, layer in biases:
        dequantize.resize_inputs(2)
        _multiply_scales(graph, layer, dequantize)
    for integers in dict.fromkeys(dequantize.inputs[0] for dequantize, _ in biases):
        _narrow(graph, integers)


def _biases(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Yields the DequantizeLinear of each bias and a layer that reads it. Equal biases may share a DequantizeLinear."""
    for layer in graph:
        dequantize = _producer(layer, 2)
        integers = dequantize.inputs[0] if dequantize is not None else None
        if integers is not None and integers.is_initializer() and integers.dtype == ir.DataType.INT32:
            yield dequantize, layer


def _producer(node: ir.Node, index: int) -> ir.Node | None:
    """Returns the DequantizeLinear that computes an input of `node`; None if another operator does."""
    value = node.inputs[index] if index < len(node.inputs) else None
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _multiply_scales(graph: ir.Graph, layer: ir.Node, dequantize: ir.Node) -> None:
    sources = [_producer(layer, index) for index in (0, 1)]
    factors = [source.inputs[1] for source in sources if source is not None]
    if len(factors) < 2 or not np.array_equal(
        numbers_of(factors[0]) * numbers_of(factors[1]), numbers_of(dequantize.inputs[1])
    ):
        return
    product = ir.node("Mul", factors)
    graph.insert_before(dequantize, product)
    dequantize.replace_input_with(1, product.outputs[0])


def _narrow(graph: ir.Graph, integers: ir.Value) -> None:
    values = numbers_of(integers)
    if values.min() < INT16.min or values.max() > INT16.max:
        return
    # torch's exporter merges a bias of zeros alone with its zero point, whose name then remains.
    short, long = str(integers.name).removesuffix(f".{INTEGERS}"), f"{integers.name}.int16"
    name = long if short in graph.initializers else short
    small = ir.val(name, const_value=ir.Tensor(values.astype(np.int16)))
    graph.register_initializer(small)
    cast = ir.node("Cast", [small], attributes={"to": int(ir.DataType.INT32)})
    graph.insert_before(graph[0], cast)
    integers.replace_all_uses_with(cast.outputs[0])
