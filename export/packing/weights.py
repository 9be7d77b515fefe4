"""Packs weights of few bits into the type that holds them.

Weights of up to 4 bits are stored as INT4, and those of 2 bits as INT2 where the target takes it. In front of their
DequantizeLinear they are cast to INT8 and multiplied by their refinement. ONNX Runtime folds that when it loads the
file, and runs its INT8 kernels. If DequantizeLinear read INT4 directly, the layer would run in floating point.
"""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir

from dfq.export.lowering.integer_weights import IntegerWeights
from dfq.export.packing.initializers import numbers_of
from dfq.quantizers.targets import Target

INT4_BITS = 4
INT2_BITS = 2
INT2_OPSET = 25  # the first opset that has INT2; other files have `Target.opset`, which more runtimes read


def pack_weights(model: ir.Model, weights: Mapping[str, IntegerWeights], target: Target) -> None:
    """Rewrites the initializers of `weights` (keyed by name) in place; what they compute stays the same."""
    for name, constants in weights.items():
        if name not in model.graph.initializers:
            continue  # torch's exporter merges equal initializers, such as those of a layer that is called twice
        if constants.in_float:
            _fold_when_loaded(model.graph, model.graph.initializers[name])
        if constants.bits <= INT2_BITS and target.stores_int2:
            _pack(model.graph, model.graph.initializers[name], constants, np.dtype(ml_dtypes.int2))
            model.opset_imports[""] = INT2_OPSET
        elif constants.bits <= INT4_BITS:
            _pack(model.graph, model.graph.initializers[name], constants, np.dtype(ml_dtypes.int4))


def _pack(graph: ir.Graph, initializer: ir.Value, constants: IntegerWeights, dtype: np.dtype) -> None:
    """Replaces an INT8 initializer by one of `dtype` and a Cast.

    A zero point adds a Sub, and a refinement adds a Mul, both in int32; the runtime folds all of them. No zero point is
    needed where the centred integers fit as they are, such as those of a mirrored grid of 3 bits in INT4.
    """
    integers, stored = numbers_of(initializer) // constants.refinement, constants.stored_zero_point.numpy()
    limits = ml_dtypes.iinfo(dtype)
    if limits.min <= integers.min() and integers.max() <= limits.max:
        stored = np.zeros_like(stored)
    axis = integers.shape.index(len(stored)) if integers.ndim != 2 else _axis(initializer)
    column = [-1 if i == axis else 1 for i in range(integers.ndim)]
    packed = (integers + stored.reshape(column)).astype(dtype)
    name = str(initializer.name)
    value, nodes = _initializer(graph, f"{name}.{dtype.name}", ir.Tensor(packed)), []
    operations = []
    if stored.any():
        operations.append(("Sub", "stored_zero_point", stored.reshape(column)))
    if constants.refinement > 1:
        operations.append(("Mul", "refinement", np.array(constants.refinement)))
    if operations:
        nodes.append(_cast(value, ir.DataType.INT32, name))
    for operator, meaning, numbers in operations:
        constant = _initializer(graph, f"{name}.{meaning}", ir.Tensor(numbers.astype(np.int32)))
        nodes.append(ir.node(operator, [nodes[-1].outputs[0], constant], name=f"{name}/{operator}"))
    nodes.append(_cast(nodes[-1].outputs[0] if nodes else value, ir.DataType.INT8, name))
    graph.insert_before(graph[0], nodes)
    initializer.replace_all_uses_with(nodes[-1].outputs[0])
    del graph.initializers[name]


def _fold_when_loaded(graph: ir.Graph, integers: ir.Value) -> None:
    """Writes Cast and Mul in place of the DequantizeLinear of a layer that runs in floating point.

    ONNX Runtime folds these two. It would keep the DequantizeLinear, since an integer kernel might absorb it, and
    convert the weights anew in every run.
    """
    for node, _ in list(integers.uses()):
        if node.op_type != "DequantizeLinear" or numbers_of(node.inputs[2]).any():
            continue
        scales = numbers_of(node.inputs[1])
        column = [-1 if i == node.attributes["axis"].as_int() else 1 for i in range(numbers_of(integers).ndim)]
        scale_name = f"{node.inputs[1].name}.column"  # a layer that is called twice, or two equal layers, share it
        scale = graph.initializers.get(scale_name) or _initializer(graph, scale_name, ir.Tensor(scales.reshape(column)))
        cast = _cast(integers, ir.DataType.FLOAT, str(node.outputs[0].name))
        product = ir.node("Mul", [cast.outputs[0], scale], name=f"{node.outputs[0].name}/Mul")
        graph.insert_before(node, [cast, product])
        node.outputs[0].replace_all_uses_with(product.outputs[0])
        graph.remove(node, safe=True)


def _initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.val(name, const_value=tensor)
    graph.register_initializer(value)
    return value


def _cast(value: ir.Value, dtype: ir.DataType, layer: str) -> ir.Node:
    return ir.node("Cast", [value], attributes={"to": int(dtype)}, name=f"{layer}/Cast_{dtype.name}")


def _axis(initializer: ir.Value) -> int:
    (user, _), *_ = initializer.uses()
    return user.attributes["axis"].as_int()
