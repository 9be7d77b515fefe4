"""Operators that compute each number by itself."""

import operator

import torch
from torch import Tensor
from torch.nn import functional as F

from dfq.models.onnx_file.operators.row import Node, Operator, plain

# Types by their numbers in ONNX; what computes with 16 or 64 bits does so with 32 here.
TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float32, 11: torch.float32, 16: torch.float32,
}  # fmt: skip


def _clip(node: Node, x: Tensor, low=None, high=None) -> Tensor:
    low = node.get("min") if low is None else low[0]
    high = node.get("max") if high is None else high[0]
    if low == 0 and high is None:
        return F.relu(x)
    if low == 0 and high == 6:
        return F.relu6(x)
    return torch.clamp(x, low, high) if low is not None or high is not None else x


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


def _leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return gamma * torch.where(x > 0, x, alpha * (torch.exp(x) - 1))


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


def _swish(node: Node, x: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(TYPES[node["to"]])


def _pow(node: Node, x: Tensor, exponent) -> Tensor:
    return x * x if isinstance(exponent, int | float) and exponent == 2 else torch.pow(x, exponent)


def _div(node: Node, a, b) -> Tensor:
    whole = [not x.is_floating_point() if isinstance(x, Tensor) else isinstance(x, int) for x in (a, b)]
    return torch.div(a, b, rounding_mode="trunc") if all(whole) else a / b


def _mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _folded(combine):
    """Returns a row for any number of inputs, which are combined one after the other."""

    def run(node: Node, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = combine(first, other)
        return first

    return Operator(run)


def _mean(node: Node, *inputs: Tensor) -> Tensor:
    return sum(inputs[1:], inputs[0]) / len(inputs)


def _arithmetic(function):
    """Returns the row of an operator between two tensors, or a tensor and a number."""
    return Operator(lambda node, a, b: function(a, b), numbers=(0, 1))


ELEMENTWISE = {
    "Relu": plain(F.relu),
    "Sigmoid": plain(torch.sigmoid),
    "Tanh": plain(torch.tanh),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Log": plain(torch.log),
    "Sqrt": plain(torch.sqrt),
    "Neg": plain(torch.neg),
    "Abs": plain(torch.abs),
    "Reciprocal": plain(torch.reciprocal),
    "Floor": plain(torch.floor),
    "Ceil": plain(torch.ceil),
    "Round": plain(torch.round),
    "Sign": plain(torch.sign),
    "Sin": plain(torch.sin),
    "Cos": plain(torch.cos),
    "Softplus": plain(F.softplus),
    "Softsign": plain(F.softsign),
    "HardSwish": plain(F.hardswish),
    "Mish": plain(F.mish),
    "Not": plain(torch.logical_not),
    "And": plain(torch.logical_and),
    "Or": plain(torch.logical_or),
    "Equal": plain(torch.eq),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "Where": plain(torch.where),
    "Add": _arithmetic(operator.add),
    "Sub": _arithmetic(operator.sub),
    "Mul": _arithmetic(operator.mul),
    "Identity": plain(lambda x: x),
    "Dropout": Operator(lambda node, x, *_: (x, None)[: node.outputs] if node.outputs > 1 else x, static=(1, 2)),
    "Elu": Operator(lambda node, x: F.elu(x, node.get("alpha", 1.0))),
    "Selu": Operator(_selu),
    "Celu": Operator(lambda node, x: F.celu(x, node.get("alpha", 1.0))),
    "ThresholdedRelu": Operator(lambda node, x: torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))),
    "Clip": Operator(_clip, static=(1, 2)),
    "Gelu": Operator(_gelu),
    "Swish": Operator(_swish),
    "HardSigmoid": Operator(_hard_sigmoid),
    "LeakyRelu": Operator(_leaky_relu),
    "PRelu": Operator(_prelu),
    "Cast": Operator(_cast),
    "CastLike": Operator(lambda node, x, like: x.to(like.dtype)),
    "Pow": Operator(_pow, numbers=(1,)),
    "Div": Operator(_div, numbers=(0, 1)),
    "Mod": Operator(_mod),
    "Min": _folded(torch.minimum),
    "Max": _folded(torch.maximum),
    "Sum": _folded(torch.add),
    "Mean": Operator(_mean),
}
