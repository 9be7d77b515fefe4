"""Rows of functions that compute with single values, and of sums and norms over some of them."""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir

from dfq.export.writing.call import Call, Written, plain_number, require

GELU_OPSET = 20  # the first one with this operator


def binary(name: str) -> Callable[[Call], Written]:
    def row(call: Call) -> Written:
        require(not call.keywords, len(call.arguments) == 2)
        sides = [each if isinstance(each, ir.Value) else plain_number(call, each) for each in call.arguments]
        return call.write(name, sides)

    return row


def reversed_sub(call: Call) -> Written:
    require(call.get(2, "alpha", 1) == 1)
    return call.write("Sub", [plain_number(call, call.arguments[1]), call.arguments[0]])


def unary(name: str, **attributes: Any) -> Callable[[Call], Written]:
    return lambda call: call.write(name, [call.arguments[0]], **attributes)


def relu6(call: Call) -> Written:
    return call.write("Clip", [call.arguments[0], call.to.number(0.0), call.to.number(6.0)])


def silu(call: Call) -> Written:
    return call.write("Mul", [call.arguments[0], call.write("Sigmoid", [call.arguments[0]])])


def leaky_relu(call: Call) -> Written:
    return call.write("LeakyRelu", [call.arguments[0]], alpha=float(call.get(1, "negative_slope", 0.01)))


def reduction(name: str) -> Callable[[Call], Written]:
    def row(call: Call) -> Written:
        axes, keeps = call.get(1, "dim"), int(call.get(2, "keepdim", False))
        require(bool(axes), call.keywords.get("dtype") is None)
        return call.write(name, [call.arguments[0], call.to.number(list(axes))], keepdims=keeps)

    return row


def layer_norm(call: Call) -> Written:
    images, shape, weight, bias = call.arguments[0], *(call.get(place, "") for place in (1, 2, 3))
    require(isinstance(weight, ir.Value))
    inputs = [images, weight] + ([bias] if bias is not None else [])
    return call.write("LayerNormalization", inputs, axis=-len(shape), epsilon=call.get(4, "eps", 1e-5))


def gelu(call: Call) -> Written:
    require(call.to.opset >= GELU_OPSET)
    return call.write("Gelu", [call.arguments[0]], approximate=call.get(1, "approximate", "none"))


def softmax(call: Call) -> Written:
    require(call.keywords.get("dtype") is None, len(call.arguments) < 3 or call.arguments[2] in (None, False))
    return call.write("Softmax", [call.arguments[0]], axis=call.get(1, "dim"))
