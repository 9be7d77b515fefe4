"""Paddings of ONNX: a number for each side of each axis, or a rule for them."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from dfq.models.onnx_file.operators.row import Node


def explicit_padding(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Returns what is added at the start of each spatial axis, then at the end of each."""
    rank, rule = len(kernel), node.get("auto_pad", "NOTSET")
    if rule in ("NOTSET", "", None):
        return list(node.get("pads", [0] * 2 * rank))
    if rule == "VALID":
        return [0] * 2 * rank
    starts, ends = [], []
    for length, size, step, spread in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-length // step) - 1) * step + spread * (size - 1) + 1 - length, 0)
        small, large = total // 2, total - total // 2
        starts.append(small if rule == "SAME_UPPER" else large)
        ends.append(large if rule == "SAME_UPPER" else small)
    return starts + ends


def split_padding(x: Tensor, pads: Sequence[int], value: float) -> tuple[Tensor, list[int]]:
    """Returns the input and the padding that is alike on both sides; what is not alike is added to the input."""
    rank = len(pads) // 2
    if list(pads[:rank]) == list(pads[rank:]):
        return x, list(pads[:rank])
    return F.pad(x, torch_padding(pads), value=value), [0] * rank


def torch_padding(pads: Sequence[int]) -> list[int]:
    """Returns the padding in the order of `F.pad`: the last axis first, its start and its end."""
    rank = len(pads) // 2
    return [pads[place] for axis in reversed(range(rank)) for place in (axis, axis + rank)]
