"""Passes over the exported graph: constants packed, moved values kept as integers, plain names.

Weights of 4 bits and less are stored as INT4, those of 2 bits as INT2 where the target takes it, and cast to INT8,
times their refinement, in front of their DequantizeLinear. ONNX Runtime folds that when it loads the file, and runs its
INT8 kernels; INT4 straight into DequantizeLinear would run in floating point. Biases (`dfq.export.packed_biases`) are
folded in the same way.
"""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from dfq.export.packed_biases import pack_biases
from dfq.export.weights import IntegerWeights
from dfq.targets import Target

INT4_BITS, INT2_BITS = 4, 2
INT2_OPSET = 25  # the first that has the type; `Target.opset` otherwise, which more runtimes read
MOVES = ("Slice", "Pad")
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "Cast")


def apply_integer_layout(model: ir.Model, weights: Mapping[str, IntegerWeights], target: Target) -> None:
    """Runs every pass that `target` wants on `model`, in place. `weights` are keyed by initializer name."""
    name_nodes_by_module(model.graph)
    for name, constants in weights.items():
        # torch's exporter merges equal initializers, as those of a layer that is called twice.
        if not target.packs_constants or name not in model.graph.initializers:
            continue
        if constants.in_float:
            _fold_when_loaded(model.graph, model.graph.initializers[name])
        if constants.bits <= INT2_BITS and target.stores_int2:
            _pack(model.graph, model.graph.initializers[name], constants, np.dtype(ml_dtypes.int2))
            model.opset_imports[""] = INT2_OPSET
        elif constants.bits <= INT4_BITS:
            _pack(model.graph, model.graph.initializers[name], constants, np.dtype(ml_dtypes.int4))
    if target.integer_operators:
        _move_as_integers(model.graph)
    if target.packs_constants:
        pack_biases(model.graph)
        _drop_zero_points(model.graph)
    common.RemoveUnusedNodesPass()(model)
    common.DeduplicateInitializersPass()(model)
    _forget_shapes(model.graph)
    common.ClearMetadataAndDocStringPass()(model)
    common.TopologicalSortPass()(model)
    _shorten_names(model.graph)  # last: the other passes name what has no name


def name_nodes_by_module(graph: ir.Graph) -> None:
    """Names each node after the module that wrote it, 'layer1.0.conv1/Conv', so that reports can be read."""
    taken: dict[str, int] = {}
    for node in graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes", "").strip("[]").split(", ")
        called = [scope.strip("'") for scope in scopes]
        module = (called[-2] if len(called) > 1 else "") or called[-1]  # a function outside modules: its own name
        name = f"{module}/{node.op_type}"
        count = taken[name] = taken.get(name, 0) + 1
        node.name = name if count == 1 else f"{name}_{count}"


def _drop_zero_points(graph: ir.Graph) -> None:
    """Leaves out the zero points of convolutions' weights where all are 0, which is what an absent one means.

    Without its zero point a Gemm would run in floating point.
    """
    for node in [_producer(layer, 1) for layer in graph if layer.op_type == "Conv"]:
        if node is not None and len(node.inputs) == 3 and not _numbers(node.inputs[2]).any():
            node.resize_inputs(2)


def _forget_shapes(graph: ir.Graph) -> None:
    """Leaves out the types and shapes that readers infer, and the notes on them: a tenth of a small file."""
    kept = {*graph.inputs, *graph.outputs}
    for value in [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]:
        if value not in kept:
            value.shape, value.type = None, None
            value.metadata_props.clear()


def _shorten_names(graph: ir.Graph) -> None:
    """Numbers scales, zero points and what is quantized at once; drops the names of nodes that convert or are folded.

    In a file of 2 MB, names would weigh 4 %. Layers, their weights and biases keep theirs, which people look for; what
    stays in floating point is named after its node, as ONNX Runtime names its own nodes after tensors.
    """
    converting = [node for node in graph if node.op_type in CONVERSIONS or _is_constant(node.outputs[0])]
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


def _is_constant(value: ir.Value) -> bool:
    node = value.producer()
    inputs = node.inputs if node is not None else ()
    return value.is_initializer() or (bool(inputs) and all(_is_constant(i) for i in inputs if i is not None))


def _is_converted(value: ir.Value) -> bool:
    return any(user.op_type in CONVERSIONS for user, _ in value.uses())


def _initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    value = ir.val(name, const_value=tensor)
    graph.register_initializer(value)
    return value


def _cast(value: ir.Value, dtype: ir.DataType, layer: str) -> ir.Node:
    return ir.node("Cast", [value], attributes={"to": int(dtype)}, name=f"{layer}/Cast_{dtype.name}")


def _pack(graph: ir.Graph, initializer: ir.Value, constants: IntegerWeights, dtype: np.dtype) -> None:
    """Replaces an INT8 initializer by one of `dtype` and a Cast.

    With a zero point also Sub, with a refinement also Mul, in int32; all are folded. No zero point is needed where the
    centred integers fit as they are: a mirrored grid of 3 bits, stored in 4.
    """
    integers, stored = _numbers(initializer) // constants.refinement, constants.stored_zero_point.numpy()
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
    """DequantizeLinear of a layer that runs in floating point → Cast and Mul, which ONNX Runtime folds.

    It keeps DequantizeLinear in hope of an integer kernel, and would convert the weights anew in every run.
    """
    for node, _ in list(integers.uses()):
        if node.op_type != "DequantizeLinear" or _numbers(node.inputs[2]).any():
            continue
        scales = _numbers(node.inputs[1])
        column = [-1 if i == node.attributes["axis"].as_int() else 1 for i in range(_numbers(integers).ndim)]
        scale = _initializer(graph, f"{node.inputs[1].name}.column", ir.Tensor(scales.reshape(column)))
        cast = _cast(integers, ir.DataType.FLOAT, str(integers.name))
        product = ir.node("Mul", [cast.outputs[0], scale], name=f"{integers.name}/Mul")
        graph.insert_before(node, [cast, product])
        node.outputs[0].replace_all_uses_with(product.outputs[0])
        graph.remove(node, safe=True)


def _axis(initializer: ir.Value) -> int:
    (user, _), *_ = initializer.uses()
    return user.attributes["axis"].as_int()


def _move_as_integers(graph: ir.Graph) -> None:
    """DequantizeLinear → Slice, Pad → QuantizeLinear on one grid: moves the integers themselves, with the same values.

    ONNX Runtime has no such rule for Pad (the shortcut of CIFAR ResNets).
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
    """The node that computes an input of `node`."""
    source = node.inputs[index]
    return None if source is None else source.producer()


def _numbers(value: ir.Value | None) -> np.ndarray:
    assert value is not None and value.const_value is not None
    return value.const_value.numpy()


def _same_grid(dequantize: ir.Node, quantize: ir.Node) -> bool:
    pairs = zip(dequantize.inputs[1:], quantize.inputs[1:], strict=True)
    return all(a is b or np.array_equal(_numbers(a), _numbers(b)) for a, b in pairs)


def _rewire(graph: ir.Graph, dequantize: ir.Node, moves: list[ir.Node], quantize: ir.Node) -> None:
    integers, zero_point = dequantize.inputs[0], dequantize.inputs[2]
    assert zero_point is not None
    moves[0].replace_input_with(0, integers)
    for move in moves:
        move.outputs[0].type = zero_point.type
        if move.op_type == "Pad":  # zeros are zero points here
            if len(move.inputs) < 3:
                move.resize_inputs(3)
            move.replace_input_with(2, zero_point)
    quantize.outputs[0].replace_all_uses_with(moves[-1].outputs[0])
    graph.remove(quantize, safe=True)
