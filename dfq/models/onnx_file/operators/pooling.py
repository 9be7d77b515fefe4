"""Pooling, resizing and padding."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dfq.models.onnx_file.operators.paddings import explicit_padding, split_padding, torch_padding
from dfq.models.onnx_file.operators.row import Node, Operator

AVERAGES = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
MAXIMA = (F.max_pool1d, F.max_pool2d, F.max_pool3d)


def _geometry(node: Node, x: Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    kernel = list(node["kernel_shape"])
    stride, dilation = node.get("strides", [1] * len(kernel)), node.get("dilations", [1] * len(kernel))
    return kernel, list(stride), list(dilation), explicit_padding(node, x.shape[2:], kernel, stride, dilation)


def _max_pool(node: Node, x: Tensor) -> Any:
    kernel, stride, dilation, pads = _geometry(node, x)
    pool, ceil = MAXIMA[len(kernel) - 1], bool(node.get("ceil_mode", 0))
    if _ends_alone(x, kernel, stride, dilation, pads):  # Windows that end outside do what padding at the end does.
        y = pool(x, kernel, stride, 0, dilation, True)
    else:
        x, padding = split_padding(x, pads, float("-inf"))
        if any(2 * pad > size for pad, size in zip(padding, kernel, strict=True)):  # more than torch takes
            x, padding = F.pad(x, torch_padding(pads), value=float("-inf")), [0] * len(kernel)
        y = pool(x, kernel, stride, padding, dilation, ceil)
    return y if node.outputs == 1 else (y, None)


def _ends_alone(x: Tensor, kernel: list[int], stride: list[int], dilation: list[int], pads: list[int]) -> bool:
    """Returns whether padding stands at the ends alone, and as much of it as the last windows reach."""
    rank = len(kernel)
    if any(pads[:rank]) or not any(pads[rank:]):
        return False
    for length, size, step, spread, end in zip(x.shape[2:], kernel, stride, dilation, pads[rank:], strict=True):
        reach = spread * (size - 1) + 1
        padded, whole = (length + end - reach) // step + 1, -(-(length - reach) // step) + 1
        if padded != whole or (whole - 1) * step >= length:
            return False
    return True


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel, stride, _, pads = _geometry(node, x)
    counts = bool(node.get("count_include_pad", 0))
    pool, ceil = AVERAGES[len(kernel) - 1], bool(node.get("ceil_mode", 0))
    rank = len(kernel)
    is_even = pads[:rank] == pads[rank:] and all(2 * pad <= size for pad, size in zip(pads[:rank], kernel, strict=True))
    if is_even:
        return pool(x, kernel, stride, pads[:rank], ceil, counts)
    padded = F.pad(x, torch_padding(pads))
    if counts:
        return pool(padded, kernel, stride, 0, ceil)
    inside = F.pad(torch.ones_like(x[:1, :1]), torch_padding(pads))
    return pool(padded, kernel, stride, 0, ceil) / pool(inside, kernel, stride, 0, ceil)


def _global(reduce):
    return Operator(lambda node, x: reduce(x))


def _global_average(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1) if x.dim() == 4 else x.mean(tuple(range(2, x.dim())), keepdim=True)


def _pad(node: Node, x: Tensor, pads=None, value=None, axes=None) -> Tensor:
    pads = list(node.get("pads") or node.get("paddings")) if pads is None else list(pads)
    number = float(value[0]) if value else float(node.get("value", 0.0))
    if axes is not None:
        whole = [0] * 2 * x.dim()
        for place, axis in enumerate(axes):
            whole[axis % x.dim()], whole[axis % x.dim() + x.dim()] = pads[place], pads[place + len(axes)]
        pads = whole
    if not any(pads):
        return x
    rank, mode = x.dim(), node.get("mode", "constant")
    free = next((axis for axis in range(rank) if pads[axis] or pads[axis + rank]), rank)  # axes in front stay
    order = torch_padding([*pads[free:rank], *pads[rank + free :]])
    if mode == "constant":
        return F.pad(x, order, value=number)
    if mode == "edge" or mode == "reflect":
        kind = {"edge": "replicate", "reflect": "reflect"}[mode]
        order = torch_padding([*pads[2:rank], *pads[rank + 2 :]])
        return F.pad(x, order, mode=kind)
    raise NotImplementedError(f"padding of mode {mode}")


def _resize(node: Node, x: Tensor, *inputs) -> Tensor:
    if node.op == "Upsample":
        scales, sizes = (inputs[0] if inputs else node["scales"]), None
    elif node.opset < 11:
        scales, sizes = inputs[0], None
    else:
        _, scales, sizes = (*inputs, None, None, None)[:3]
    if node.get("axes") is not None:
        raise NotImplementedError("resizing of chosen axes")
    lengths = list(sizes) if sizes else [int(length * scale) for length, scale in zip(x.shape, scales, strict=True)]
    mode = node.get("mode", "nearest")
    place = node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    size = [int(length) for length in lengths[2:]]
    if mode == "nearest":
        whole = all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True))
        rounding = node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
        if whole or (place == "asymmetric" and rounding == "floor"):
            return F.interpolate(x, size=size, mode="nearest")
        raise NotImplementedError(f"nearest resizing by {place} and {rounding}")
    kind = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()], "cubic": "bicubic"}[mode]
    if place not in ("align_corners", "half_pixel", "pytorch_half_pixel"):
        raise NotImplementedError(f"{mode} resizing by {place}")
    return F.interpolate(x, size=size, mode=kind, align_corners=place == "align_corners")


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    block = node["blocksize"]
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    n, channels, height, width = x.shape
    x = x.reshape(n, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, channels // block**2, height * block, width * block)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    block = node["blocksize"]
    n, channels, height, width = x.shape
    x = x.reshape(n, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, channels * block**2, height // block, width // block)


def _grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    mode = {
        "linear": "bilinear",
        "bilinear": "bilinear",
        "nearest": "nearest",
        "cubic": "bicubic",
        "bicubic": "bicubic",
    }
    return F.grid_sample(
        x, grid, mode[node.get("mode", "linear")], node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    )


POOLING = {
    "MaxPool": Operator(_max_pool),
    "AveragePool": Operator(_average_pool),
    "GlobalAveragePool": _global(_global_average),
    "GlobalMaxPool": _global(lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True)),
    "Pad": Operator(_pad, static=(1, 2, 3)),
    "Resize": Operator(_resize, static=(1, 2, 3)),
    "Upsample": Operator(_resize, static=(1,)),
    "DepthToSpace": Operator(_depth_to_space),
    "SpaceToDepth": Operator(_space_to_depth),
    "GridSample": Operator(_grid_sample),
}
