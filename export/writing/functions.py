"""Says which ONNX operator computes a function of torch: there is one row per function.

A row raises `NoRow` where its operator would compute something else, such as for windows that round up.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from dfq.export.writing import arithmetic, moves, pooling
from dfq.export.writing.call import Call, Written

ATEN = torch.ops.aten

FUNCTIONS: dict[Any, Callable[[Call], Written]] = {
    operator.add: arithmetic.binary("Add"),
    operator.sub: arithmetic.binary("Sub"),
    ATEN.rsub.Scalar: arithmetic.reversed_sub,
    operator.mul: arithmetic.binary("Mul"),
    operator.truediv: arithmetic.binary("Div"),
    ATEN.reciprocal.default: arithmetic.unary("Reciprocal"),
    torch.clone: arithmetic.unary("Identity"),
    F.relu: arithmetic.unary("Relu"),
    F.relu6: arithmetic.relu6,
    F.silu: arithmetic.silu,
    F.hardswish: arithmetic.unary("HardSwish"),
    F.hardsigmoid: arithmetic.unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    torch.sigmoid: arithmetic.unary("Sigmoid"),
    ATEN.tanh.default: arithmetic.unary("Tanh"),
    ATEN.leaky_relu.default: arithmetic.leaky_relu,
    torch.cat: moves.concatenate,
    F.max_pool2d: pooling.max_pool,
    F.avg_pool2d: pooling.average_pool,
    F.pad: moves.pad,
    torch.reshape: moves.reshape,
    torch.flatten: moves.flatten,
    torch.transpose: moves.transpose,
    torch.permute: moves.permute,
    torch.squeeze: moves.squeeze,
    torch.unsqueeze: moves.unsqueeze,
    **dict.fromkeys((torch.chunk, torch.split), moves.split),
    operator.getitem: moves.item,
    ATEN.mean.dim: arithmetic.reduction("ReduceMean"),
    ATEN.sum.dim_IntList: arithmetic.reduction("ReduceSum"),
    ATEN.layer_norm.default: arithmetic.layer_norm,
    ATEN.gelu.default: arithmetic.gelu,
    ATEN.upsample_nearest2d.vec: moves.upsample_nearest,
    F.pixel_shuffle: moves.pixel_shuffle,
    F.channel_shuffle: moves.channel_shuffle,
    **dict.fromkeys((torch.softmax, ATEN.softmax.int), arithmetic.softmax),
}
