"""From a student to the graph that is exported: a copy in which every module writes its integer operators."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from dfq.calibrate import input_quantizer
from dfq.export.emit import (
    INTEGERS,
    EmitConvolution,
    EmitFloat,
    EmitGemm,
    EmitGlobalAveragePool,
    EmitMatMul,
    EmitQuantize,
    EmitWeight,
)
from dfq.export.weights import IntegerWeights, QuantizedLayer, integer_weights
from dfq.fake_quant import FakeQuantize, SharedQuantize
from dfq.input_spec import InputSpec
from dfq.operators import Kind, is_relu6, kind_of
from dfq.pooling import GlobalAveragePool
from dfq.quant_layers import QuantConv2d, QuantLinear

RELU6_LIMIT = 6.0
FLOAT_TOLERANCE = 1e-6


def prepare(student: fx.GraphModule, input_spec: InputSpec) -> tuple[fx.GraphModule, dict[str, IntegerWeights]]:
    """(the copy to export, the integer weights by initializer name). The student itself is not touched.

    Also takes a traced network without quantizers: then only the pooling is rewritten.
    """
    copied = copy.deepcopy(student).cpu().eval()
    with torch.no_grad():
        ShapeProp(copied).propagate(torch.zeros(2, *input_spec.size))
    _split_global_pooling(copied)
    _drop_absorbed_relus(copied)
    padding = _take_out_paddings(copied)
    weights = dict(_replace_layers(copied, padding))
    _replace_quantizers(copied)
    copied.graph.eliminate_dead_code()
    copied.graph.lint()
    copied.delete_all_unused_submodules()
    copied.recompile()
    return copied, weights


def module_of(node: object, graph_module: fx.GraphModule) -> nn.Module | None:
    """The module that a node calls, or None."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return graph_module.get_submodule(str(node.target))
    return None


def _first(node: fx.Node) -> fx.Node:
    """The node whose output `node` reads first."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def _bypass(node: fx.Node) -> None:
    node.replace_all_uses_with(_first(node))
    node.graph.erase_node(node)


def _call_after(copied: fx.GraphModule, node: fx.Node, name: str, module: nn.Module) -> fx.Node:
    copied.add_submodule(name, module)
    users = list(node.users)
    with copied.graph.inserting_after(node):
        call = copied.graph.call_module(name, (node,))
    for user in users:
        user.replace_input_with(node, call)
    return call


def _split_global_pooling(copied: fx.GraphModule) -> None:
    """Pooling that drops its dimensions becomes pooling, its quantizer, flattening: the kernel needs this order."""
    for node in list(copied.graph.nodes):
        pooling = module_of(node, copied)
        if not isinstance(pooling, GlobalAveragePool):
            continue
        copied.set_submodule(str(node.target), EmitGlobalAveragePool())
        if pooling.keep_dims:
            continue
        quantize = next(iter(node.users))
        quantizer = module_of(quantize, copied)
        is_quantized = len(node.users) == 1 and isinstance(quantizer, FakeQuantize)
        name = f"{node.name}_flatten"
        flat = _call_after(copied, quantize if is_quantized else node, name, nn.Flatten(1))
        if isinstance(quantizer, FakeQuantize) and is_quantized:
            _call_after(copied, flat, f"{name}_quantize", SharedQuantize(quantizer))


def _drop_absorbed_relus(copied: fx.GraphModule) -> None:
    """Takes out every ReLU and ReLU6 behind which a grid clips the same way."""
    for node in list(copied.graph.nodes):
        if kind_of(node, copied) is not Kind.RELU:
            continue
        users = [module_of(user, copied) for user in node.users]
        six = is_relu6(node, copied)
        if len(users) == 1 and isinstance(users[0], FakeQuantize) and _clips_alike(users[0], six):
            _bypass(node)


def _clips_alike(quantizer: FakeQuantize, six: bool) -> bool:
    scale, zero_point = quantizer.qparams()
    if quantizer.spec.signed or zero_point.item() != 0:
        return False
    return not six or quantizer.spec.q_max * scale.item() <= RELU6_LIMIT * (1 + FLOAT_TOLERANCE)


def _zero_padding(node: fx.Node, copied: fx.GraphModule) -> tuple[int, ...] | None:
    """(left, right, top, bottom) where `node` pads images with zeros, else None."""
    module = module_of(node, copied)
    if isinstance(module, nn.ZeroPad2d):
        return tuple(module.padding)
    if node.target is F.pad and kind_of(node, copied) is Kind.PASS:
        pad: Any = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        return tuple(pad) if len(pad) == 4 and min(pad) >= 0 else None
    return None


def _take_out_paddings(copied: fx.GraphModule) -> dict[str, tuple[int, ...]]:
    """Removes zero padding in front of convolutions; returns (left, right, top, bottom) by the name of their node."""
    taken = {}
    for node in list(copied.graph.nodes):
        layer = module_of(node, copied)
        if not isinstance(layer, QuantConv2d) or layer.padding_mode != "zeros":
            continue
        shared = _first(node)
        pad = _first(shared) if isinstance(module_of(shared, copied), SharedQuantize) else shared
        padding = _zero_padding(pad, copied)
        if padding is not None:
            node.replace_input_with(shared, _first(pad))
            taken[node.name] = padding
    return taken


def _replace_layers(copied: fx.GraphModule, paddings: dict) -> Iterator[tuple[str, IntegerWeights]]:
    modules = dict(copied.named_modules())
    for node in list(copied.graph.nodes):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, (QuantConv2d, QuantLinear)):
            continue
        constants = integer_weights(layer, input_quantizer(node, modules))
        # One module per call: a layer that is called twice may read two grids, and so have two biases.
        name = f"{node.target}" if isinstance(module_of(node, copied), type(layer)) else f"{node.target}_{node.name}"
        if isinstance(layer, nn.Conv2d):
            _pad_unlike_zeros(copied, node, layer)
            module = _convolution(layer, constants, paddings.get(node.name, (0, 0, 0, 0)))
        else:
            module = _linear(layer, constants, rank=len(node.meta["tensor_meta"].shape))
        copied.add_submodule(name, module)
        node.target = name
        yield f"{name}.weight.{INTEGERS}", constants


def _bias(layer: QuantizedLayer, constants: IntegerWeights) -> nn.Module | None:
    if layer.bias is None:
        return None
    if constants.bias is None or constants.bias_scale is None:
        return EmitFloat(layer.bias.detach())
    return EmitWeight(constants.bias, constants.bias_scale, torch.zeros_like(constants.bias))


def _pad_unlike_zeros(copied: fx.GraphModule, node: fx.Node, layer: nn.Conv2d) -> None:
    if layer.padding_mode == "zeros":
        return
    border = list(layer._reversed_padding_repeated_twice)  # what torch itself pads with in these modes
    with copied.graph.inserting_before(node):
        padded = copied.graph.call_function(F.pad, (node.args[0], border), {"mode": layer.padding_mode})
    node.replace_input_with(_first(node), padded)


def _own_padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """(left, right, top, bottom) of zeros that the layer itself adds."""
    if layer.padding_mode != "zeros":
        return (0, 0, 0, 0)
    if isinstance(layer.padding, str):  # "same" and "valid", which torch resolves here
        return tuple(layer._reversed_padding_repeated_twice)
    top, left = layer.padding
    return (left, left, top, top)


def _convolution(layer: nn.Conv2d, constants: IntegerWeights, extra: tuple[int, ...]) -> EmitConvolution:
    left, right, top, bottom = (a + b for a, b in zip(_own_padding(layer), extra, strict=True))
    weight = EmitWeight(constants.integers, constants.scale, constants.zero_point)
    return EmitConvolution(weight, _bias(layer, constants), layer, (top, left, bottom, right))


def _linear(layer: QuantLinear, constants: IntegerWeights, rank: int) -> nn.Module:
    if rank == 2:
        weight = EmitWeight(constants.integers, constants.scale, constants.zero_point)
        return EmitGemm(weight, _bias(layer, constants))
    transposed: Tensor = constants.integers.t().contiguous()
    return EmitMatMul(EmitWeight(transposed, constants.scale, constants.zero_point, axis=1), _bias(layer, constants))


def _replace_quantizers(copied: fx.GraphModule) -> None:
    for node in copied.graph.nodes:
        module = module_of(node, copied)
        if not isinstance(module, (FakeQuantize, SharedQuantize)):
            continue
        quantizer = module.source if isinstance(module, SharedQuantize) else module
        emit = EmitQuantize(quantizer.spec, *quantizer.qparams(), clip=module is quantizer)
        copied.set_submodule(str(node.target), emit)
