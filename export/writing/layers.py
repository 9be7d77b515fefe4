"""Says which ONNX operator computes a layer: there is one row per kind of module."""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
from torch import nn

from dfq.export.writing.call import Call, Written, pair, require
from dfq.graph.channel_relu6 import ChannelReLU6


def _convolution(call: Call, layer: nn.Conv2d) -> Written:
    require(layer.padding_mode == "zeros", not isinstance(layer.padding, str))
    pads = pair(layer.padding)
    return call.write(
        "Conv",
        [call.arguments[0], *_constants(call, layer)],
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        dilations=list(layer.dilation),
        pads=[*pads, *pads],
        group=layer.groups,
    )


def _linear(call: Call, layer: nn.Linear) -> Written:
    if call.result.dim() == 2:
        return call.write("Gemm", [call.arguments[0], *_constants(call, layer)], transB=1)
    product = call.write("MatMul", [call.arguments[0], call.to.transposed(layer.weight)])
    return product if layer.bias is None else call.write("Add", [product, call.to.value_of(layer.bias)])


def _layer_norm(call: Call, layer: nn.LayerNorm) -> Written:
    require(layer.weight is not None)
    inputs = [call.arguments[0], *_constants(call, layer)]
    return call.write("LayerNormalization", inputs, axis=-len(layer.normalized_shape), epsilon=layer.eps)


def _flatten(call: Call, layer: nn.Flatten) -> Written:
    require(layer.start_dim == 1, layer.end_dim == -1)
    return call.write("Reshape", [call.arguments[0], call.to.number([0, call.result.shape[1]])])


def _channel_relu6(call: Call, layer: ChannelReLU6) -> Written:
    positive = call.write("Relu", [call.arguments[0]])
    return call.write("Min", [positive, call.to.value_of(layer.get_buffer("ceiling"))])


def _constants(call: Call, layer: Any) -> list[ir.Value]:
    return [call.to.value_of(each) for each in (layer.weight, layer.bias) if each is not None]


LAYERS: dict[type[nn.Module], Callable[[Call, Any], Written]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Identity: lambda call, _: call.arguments[0],
    ChannelReLU6: _channel_relu6,
}
