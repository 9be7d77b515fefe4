"""Turns a student into the graph that is exported: a copy in which every module writes its integer operators."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from dfq.export.lowering.graph_edits import bypass, call_after, module_of
from dfq.export.lowering.integer_weights import IntegerWeights, QuantizedLayer, integer_weights
from dfq.export.lowering.onnx_modules import (
    INTEGERS,
    EmitAttention,
    EmitConvolution,
    EmitFloat,
    EmitGemm,
    EmitGlobalAveragePool,
    EmitMatMul,
    EmitQuantize,
    EmitQuickGelu,
    EmitWeight,
)
from dfq.export.lowering.paddings import own_padding, pad_with_own_values, take_out_paddings
from dfq.graph.channel_relu6 import RELU6_LIMIT
from dfq.graph.global_pooling import GlobalAveragePool
from dfq.graph.operators import Kind, is_relu6, kind_of
from dfq.images.input_spec import InputSpec
from dfq.quantizers.fake_quantize import FakeQuantize, SharedQuantize
from dfq.quantizers.quantized_attention import QuantizedAverage
from dfq.quantizers.quantized_layers import QuantConv2d, QuantLinear
from dfq.quantizers.targets import Target
from dfq.student.attention_products import second_factors
from dfq.student.set_ranges import input_quantizer

FLOAT_TOLERANCE = 1e-6  # relative error of float32 by which the end of a grid may exceed that of ReLU6
EXAMPLES = 2  # The shapes of tensors are found with this many images.


def prepare(
    student: fx.GraphModule, input_spec: InputSpec, target: Target
) -> tuple[fx.GraphModule, dict[str, IntegerWeights]]:
    """Returns the copy to export, and the integer weights by name of the initializer. The student does not change.

    A traced network without quantizers is possible, too: only its pooling and its SiLU are then rewritten.
    """
    copied = copy.deepcopy(student).cpu().eval()
    with torch.no_grad():
        ShapeProp(copied).propagate(torch.zeros(EXAMPLES, *input_spec.size))
    if target.has_quick_gelu:
        _name_silu(copied)
    _split_global_pooling(copied)
    _drop_absorbed_relus(copied)
    padding = take_out_paddings(copied)
    fuses_bias = target.has_fused_bias and any(True for _ in second_factors(copied, copied.graph))
    weights = dict(_replace_layers(copied, padding, target, fuses_bias))
    _replace_quantizers(copied, target)
    copied.graph.eliminate_dead_code()
    copied.graph.lint()
    copied.delete_all_unused_submodules()
    copied.recompile()
    return copied, weights


def _name_silu(copied: fx.GraphModule) -> None:
    for node in list(copied.graph.nodes):
        if node.target is F.silu:
            call_after(copied, node, f"{node.name}_quick_gelu", EmitQuickGelu())
            bypass(node)


def _split_global_pooling(copied: fx.GraphModule) -> None:
    """Splits pooling that drops its dimensions into pooling, its quantizer and flattening, as the kernel needs it."""
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
        flat = call_after(copied, quantize if is_quantized else node, name, nn.Flatten(1))
        if isinstance(quantizer, FakeQuantize) and is_quantized:
            call_after(copied, flat, f"{name}_quantize", SharedQuantize(quantizer))


def _drop_absorbed_relus(copied: fx.GraphModule) -> None:
    """Takes out every ReLU and ReLU6 that is followed by a grid which clips in the same way."""
    for node in list(copied.graph.nodes):
        if kind_of(node, copied) is not Kind.RELU:
            continue
        users = [module_of(user, copied) for user in node.users]
        six = is_relu6(node, copied)
        if len(users) == 1 and isinstance(users[0], FakeQuantize) and _clips_alike(users[0], six):
            bypass(node)


def _clips_alike(quantizer: FakeQuantize, six: bool) -> bool:
    scale, zero_point = quantizer.qparams()
    if quantizer.spec.signed or zero_point.item() != 0:
        return False
    return not six or quantizer.spec.q_max * scale.item() <= RELU6_LIMIT * (1 + FLOAT_TOLERANCE)


def _replace_layers(
    copied: fx.GraphModule, paddings: dict, target: Target, fuses_bias: bool
) -> Iterator[tuple[str, IntegerWeights]]:
    modules = dict(copied.named_modules())
    for node in list(copied.graph.nodes):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(layer, (QuantConv2d, QuantLinear)):
            continue
        constants = integer_weights(layer, input_quantizer(node, modules))
        # Each call has its own module, because a layer that is called twice may read two grids and have two biases.
        name = f"{node.target}" if isinstance(module_of(node, copied), type(layer)) else f"{node.target}_{node.name}"
        if isinstance(layer, nn.Conv2d):
            pad_with_own_values(copied, node, layer)
            module = _convolution(
                layer, constants, paddings.get(node.name, (0, 0, 0, 0)), _bias(layer, constants, target)
            )
        else:
            rank = len(node.meta["tensor_meta"].shape)
            in_float = fuses_bias and rank > 2 and layer.bias is not None
            bias = EmitFloat(layer.bias.detach()) if in_float else _bias(layer, constants, target)
            module = _linear(constants, rank, bias)
        copied.add_submodule(name, module)
        node.target = name
        yield f"{name}.weight.{INTEGERS}", constants


def _bias(layer: QuantizedLayer, constants: IntegerWeights, target: Target) -> nn.Module | None:
    if layer.bias is None:
        return None
    if constants.bias is None or constants.bias_scale is None or not target.integer_operators:
        return EmitFloat(layer.bias.detach())
    return EmitWeight(constants.bias, constants.bias_scale, torch.zeros_like(constants.bias))


def _convolution(
    layer: nn.Conv2d, constants: IntegerWeights, extra: tuple[int, ...], bias: nn.Module | None
) -> EmitConvolution:
    left, right, top, bottom = (a + b for a, b in zip(own_padding(layer), extra, strict=True))
    weight = EmitWeight(constants.integers, constants.scale, constants.zero_point)
    return EmitConvolution(weight, bias, layer, (top, left, bottom, right))


def _linear(constants: IntegerWeights, rank: int, bias: nn.Module | None) -> nn.Module:
    if rank == 2:
        weight = EmitWeight(constants.integers, constants.scale, constants.zero_point)
        return EmitGemm(weight, bias)
    transposed: Tensor = constants.integers.t().contiguous()
    return EmitMatMul(EmitWeight(transposed, constants.scale, constants.zero_point, axis=1), bias)


def _replace_quantizers(copied: fx.GraphModule, target: Target) -> None:
    seconds = set(second_factors(copied, copied.graph)) if target.min_keys else set()
    for node in copied.graph.nodes:
        module = module_of(node, copied)
        if isinstance(module, QuantizedAverage):
            chances = EmitQuantize(module.probabilities.spec, *module.probabilities.qparams(), target)
            copied.set_submodule(str(node.target), EmitAttention(module, chances))
        if not isinstance(module, (FakeQuantize, SharedQuantize)):
            continue
        quantizer = module.source if isinstance(module, SharedQuantize) else module
        stays_signed = node in seconds and quantizer.spec.signed and quantizer.spec.symmetric
        emit = EmitQuantize(quantizer.spec, *quantizer.qparams(), target, module is quantizer, stays_signed)
        copied.set_submodule(str(node.target), emit)
