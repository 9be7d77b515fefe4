"""Rows of pooling."""

from torch import Tensor

from dfq.export.writing.call import Call, Written, pair, require


def _pool(call: Call, kernel: list, stride: list, padding: list, dilation: list, *, rounds_up: bool = False) -> dict:
    """Returns the attributes of a pooling operator whose windows end inside of the maps, unless it rounds up."""
    sizes = zip(call.tensors[0].shape[2:], kernel, stride, padding, dilation, strict=True)
    free = [(n + 2 * p - d * (k - 1) - 1 + rounds_up * (s - 1), s) for n, k, s, p, d in sizes]
    require(list(call.result.shape[2:]) == [length // s + 1 for length, s in free])
    return {"kernel_shape": kernel, "strides": stride, "pads": [*padding, *padding]}


def max_pool(call: Call) -> Written:
    require(isinstance(call.result, Tensor), call.result.dim() == 4)
    kernel, dilation = pair(call.arguments[1]), pair(call.get(4, "dilation", 1))
    stride, padding = pair(call.get(2, "stride") or kernel), pair(call.get(3, "padding", 0))
    rounds_up = bool(call.get(5, "ceil_mode", False)) and padding == [0, 0] and stride <= kernel
    attributes = _pool(call, kernel, stride, padding, dilation, rounds_up=rounds_up)
    return call.write("MaxPool", [call.arguments[0]], **attributes, dilations=dilation, ceil_mode=int(rounds_up))


def average_pool(call: Call) -> Written:
    require(call.get(6, "divisor_override") is None, call.result.dim() == 4)
    kernel = pair(call.arguments[1])
    stride = pair(call.get(2, "stride") or kernel)
    attributes = _pool(call, kernel, stride, pair(call.get(3, "padding", 0)), [1, 1])
    counts = int(call.get(5, "count_include_pad", True))
    return call.write("AveragePool", [call.arguments[0]], **attributes, count_include_pad=counts)
