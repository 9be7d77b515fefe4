"""Operators that are read with `--allow-float-ops` alone: they are seldom in networks for images, and stay in float."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dfq.models.onnx_file.operators.recurrent import RECURRENT
from dfq.models.onnx_file.operators.row import Node, Operator, plain
from dfq.models.onnx_file.operators.shapes import reduction

REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _shrink(node: Node, x: Tensor) -> Tensor:
    edge, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return torch.where(x < -edge, x + bias, torch.where(x > edge, x - bias, torch.zeros_like(x)))


def _hardmax(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", -1 if node.opset >= 13 else 1) % x.dim()
    flat = x if node.opset >= 13 else x.flatten(axis)  # before opset 13 all axes from this one on are one
    return _hot(flat.argmax(axis, keepdim=True), flat.shape[axis], axis).to(x.dtype).reshape(x.shape)


def _hot(index: Tensor, length: int, axis: int) -> Tensor:
    """Returns whether each place of a new length along `axis` is the one that the index says."""
    places = torch.arange(length, device=index.device)
    return index == places.reshape([-1 if place == axis else 1 for place in range(index.dim())])


def _one_hot(node: Node, index: Tensor, depth, values) -> Tensor:
    length, (off, on) = int(depth[0]), values
    axis = node.get("axis", -1) % (index.dim() + 1)
    index = torch.where(index < 0, index + length, index).unsqueeze(axis)
    return torch.where(_hot(index, length, axis), on, off)


def _gather_nd(node: Node, x: Tensor, index: Tensor) -> Tensor:
    batched, rank = node.get("batch_dims", 0), index.dim() - 1
    rows = [torch.arange(x.shape[axis], device=x.device).reshape([-1 if place == axis else 1 for place in range(rank)])
            for axis in range(batched)]  # fmt: skip
    return x[(*rows, *index.unbind(-1))]


def _scatter_nd(node: Node, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    kind = node.get("reduction", "none")
    if kind not in ("none", "add"):
        raise NotImplementedError(f"reduction {kind}")
    return x.index_put(index.unbind(-1), updates, accumulate=kind == "add")


def _scatter_elements(node: Node, x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    axis, kind = node.get("axis", 0), node.get("reduction", "none")
    index = torch.where(index < 0, index + x.shape[axis], index)
    return x.scatter(axis, index, updates) if kind == "none" else x.scatter_reduce(
        axis, index, updates, REDUCTIONS[kind]
    )  # fmt: skip


def _center_crop_pad(node: Node, x: Tensor, shape) -> Tensor:
    axes = node.get("axes") or range(x.dim())
    for axis, wanted in zip(axes, shape, strict=True):
        length = x.shape[axis]
        if wanted < length:
            x = x.narrow(axis, (length - wanted) // 2, wanted)
        elif wanted > length:
            start = (wanted - length) // 2
            x = F.pad(x, [0, 0] * (x.dim() - 1 - axis % x.dim()) + [start, wanted - length - start])
    return x


def _standardised(node: Node, x: Tensor) -> Tensor:
    axes = tuple(node.get("axes", (0, 2, 3)))
    size = math.prod(x.shape[axis] for axis in axes)
    centred = x - x.sum(axes, keepdim=True) / size  # a mean over all pixels would be a pooling on integers
    return centred / ((centred.square().sum(axes, keepdim=True) / size).sqrt() + 1e-9)


def _rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    axes = tuple(range(node.get("axis", -1) % x.dim(), x.dim()))
    return x / (x.square().mean(axes, keepdim=True) + node.get("epsilon", 1e-5)).sqrt() * scale


def _lp_norm(node: Node, x: Tensor) -> Tensor:
    return F.normalize(x, node.get("p", 2), node.get("axis", -1))


def _global_lp_pool(node: Node, x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, node.get("p", 2), tuple(range(2, x.dim())), keepdim=True)


def _fold(node: Node, x: Tensor, image, block) -> Tensor:
    pads = node.get("pads", [0, 0, 0, 0])
    if len(block) != 2 or pads[:2] != pads[2:]:
        raise NotImplementedError("images of another rank, or padding that is not alike on both sides")
    return F.fold(x, image, block, node.get("dilations", [1, 1]), pads[:2], node.get("strides", [1, 1]))


def _affine_grid(node: Node, theta: Tensor, size) -> Tensor:
    return F.affine_grid(theta, size, bool(node.get("align_corners", 0)))


def _arg_min(node: Node, x: Tensor) -> Any:
    return x.argmin(node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


FLOAT_OPERATORS: dict[str, Operator] = {
    **RECURRENT,
    "Acos": plain(torch.acos),
    "Acosh": plain(torch.acosh),
    "Asin": plain(torch.asin),
    "Asinh": plain(torch.asinh),
    "Atan": plain(torch.atan),
    "Atanh": plain(torch.atanh),
    "Cosh": plain(torch.cosh),
    "Sinh": plain(torch.sinh),
    "Tan": plain(torch.tan),
    "Det": plain(torch.linalg.det),
    "IsInf": plain(torch.isinf),
    "IsNaN": plain(torch.isnan),
    "Xor": plain(torch.logical_xor),
    "Shrink": Operator(_shrink),
    "Hardmax": Operator(_hardmax),
    "OneHot": Operator(_one_hot, static=(1, 2)),
    "ArgMin": Operator(_arg_min),
    "GatherND": Operator(_gather_nd),
    "ScatterND": Operator(_scatter_nd),
    "ScatterElements": Operator(_scatter_elements),
    "CenterCropPad": Operator(_center_crop_pad, static=(1,)),
    "LpNormalization": Operator(_lp_norm),
    "MeanVarianceNormalization": Operator(_standardised),
    "RMSNormalization": Operator(_rms_norm, weights={1: "weight"}),
    "GlobalLpPool": Operator(_global_lp_pool),
    "ReduceLogSum": reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "Col2Im": Operator(_fold, static=(1, 2)),
    "AffineGrid": Operator(_affine_grid, static=(1,)),
}
