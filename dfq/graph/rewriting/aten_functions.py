"""Turns ATen operators into functions of torch: there is one row per operator.

An operator without a row, here or in `dfq.graph.rewriting.aten_layers`, stays as it is, and torch runs it in floating
point.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from dfq.graph.rewriting.aten_layers import ATEN, DROPOUTS, Arguments, each_side

END = 2**63 - 1  # stands for "to the end" in slices
Call = tuple[Callable, tuple, dict[str, Any]]  # a function, its positional arguments, its keyword arguments


def _index(dim: int, index: Any) -> tuple:
    """Returns an index along a dimension, which is counted from the back where `dim` is negative."""
    return (slice(None),) * dim + (index,) if dim >= 0 else (..., index, *(slice(None),) * (-dim - 1))


def _slice(a: Arguments) -> Call:
    end = None if a["end"] is None or a["end"] == END else a["end"]
    return operator.getitem, (a["self"], _index(a["dim"], slice(a["start"] or None, end, a["step"]))), {}


def _select(a: Arguments) -> Call:
    return operator.getitem, (a["self"], _index(a["dim"], a["index"])), {}


def _clamp(a: Arguments) -> Call | None:
    low, high = a.get("min_val", a.get("min")), a.get("max_val", a.get("max"))
    function = {(0, 6): F.relu6, (0, None): F.relu}.get((low, high)) if not isinstance(low, fx.Node) else None
    return None if function is None else (function, (a["self"],), {})


def _negative(a: Arguments) -> Call:
    return operator.mul, (a["self"], -1.0), {}


def _plain(function: Callable, *names: str, **keywords: str) -> Callable[[Arguments], Call]:
    """Returns a row that calls the same operation of torch; `keywords` maps torch's names to the schema's."""
    return lambda a: (function, tuple(a[name] for name in names), {k: a[name] for k, name in keywords.items()})


POOLING = ("kernel_size", "stride", "padding")
# Maps each operator to the call that `dfq.graph.operators` knows; a row that returns None leaves the operator as it is.
FUNCTIONS: dict[Any, Callable[[Arguments], Call | None]] = {
    **dict.fromkeys((ATEN.relu.default, ATEN.relu_.default), _plain(F.relu, "self")),
    **dict.fromkeys((ATEN.relu6.default, ATEN.relu6_.default), _plain(F.relu6, "self")),
    **dict.fromkeys(
        (ATEN.hardtanh.default, ATEN.hardtanh_.default, ATEN.clamp.default, ATEN.clamp_min.default), _clamp
    ),
    **dict.fromkeys((ATEN.add.Tensor, ATEN.add_.Tensor), _plain(operator.add, "self", "other")),  # see `WEIGHTED`
    **dict.fromkeys((ATEN.sub.Tensor, ATEN.sub_.Tensor), _plain(operator.sub, "self", "other")),
    ATEN.neg.default: _negative,
    **dict.fromkeys((ATEN.mul.Tensor, ATEN.mul_.Tensor), _plain(operator.mul, "self", "other")),
    **dict.fromkeys((ATEN.div.Tensor, ATEN.div_.Tensor), _plain(operator.truediv, "self", "other")),
    **dict.fromkeys((ATEN.sigmoid.default, ATEN.sigmoid_.default), _plain(torch.sigmoid, "self")),
    **dict.fromkeys((ATEN.silu.default, ATEN.silu_.default), _plain(F.silu, "self")),
    **dict.fromkeys((ATEN.hardswish.default, ATEN.hardswish_.default), _plain(F.hardswish, "self")),
    **dict.fromkeys((ATEN.hardsigmoid.default, ATEN.hardsigmoid_.default), _plain(F.hardsigmoid, "self")),
    ATEN.cat.default: _plain(torch.cat, "tensors", "dim"),
    ATEN.max_pool2d.default: _plain(F.max_pool2d, "self", *POOLING, "dilation", "ceil_mode"),
    ATEN.avg_pool2d.default: _plain(
        F.avg_pool2d, "self", *POOLING, "ceil_mode", "count_include_pad", "divisor_override"
    ),
    ATEN.flatten.using_ints: _plain(torch.flatten, "self", "start_dim", "end_dim"),
    **dict.fromkeys((ATEN.view.default, ATEN._unsafe_view.default), _plain(torch.reshape, "self", "size")),
    ATEN.reshape.default: _plain(torch.reshape, "self", "shape"),
    ATEN.permute.default: _plain(torch.permute, "self", "dims"),
    ATEN.transpose.int: _plain(torch.transpose, "self", "dim0", "dim1"),
    ATEN.squeeze.dim: _plain(torch.squeeze, "self", "dim"),
    ATEN.squeeze.dims: _plain(torch.squeeze, "self", "dim"),
    ATEN.unsqueeze.default: _plain(torch.unsqueeze, "self", "dim"),
    ATEN.chunk.default: _plain(torch.chunk, "self", "chunks", "dim"),
    ATEN.split.Tensor: _plain(torch.split, "self", "split_size", "dim"),
    ATEN.split_with_sizes.default: _plain(torch.split, "self", "split_sizes", "dim"),
    ATEN.unbind.int: _plain(torch.unbind, "self", "dim"),
    ATEN.slice.Tensor: _slice,
    ATEN.select.int: _select,
    ATEN.pad.default: _plain(F.pad, "self", "pad", mode="mode", value="value"),
    ATEN.constant_pad_nd.default: _plain(F.pad, "self", "pad", value="value"),
    ATEN.channel_shuffle.default: _plain(F.channel_shuffle, "self", "groups"),
    ATEN.pixel_shuffle.default: _plain(F.pixel_shuffle, "self", "upscale_factor"),
    ATEN.sym_size.int: _plain(torch.Tensor.size, "self", "dim"),
}
WEIGHTED = (ATEN.add.Tensor, ATEN.add_.Tensor, ATEN.sub.Tensor, ATEN.sub_.Tensor)  # these compute x ± alpha · y
# These change no value in evaluation mode. A copy has no effect in a graph without in-place operators.
IDENTITIES = (
    *DROPOUTS, ATEN.contiguous.default, ATEN.detach.default, ATEN.alias.default, ATEN.lift_fresh_copy.default,
    ATEN.clone.default, ATEN.detach_.default,
)  # fmt: skip


def changes_nothing(function: Callable, args: tuple) -> bool:
    """Returns whether a call gives back its first argument, such as x + 0, x · 1, or windows of one pixel."""
    neutral = {operator.add: 0, operator.sub: 0, operator.mul: 1, operator.truediv: 1}
    if function in neutral:
        return isinstance(args[1], (int, float)) and args[1] == neutral[function]
    return function is F.avg_pool2d and args[1:] == ([1, 1], [1, 1])


def even_pooling(node: fx.Node, arguments: Arguments) -> Call | None:
    """Returns average pooling for adaptive average pooling whose windows are all alike, and None for any other node."""
    if node.target is not ATEN.adaptive_avg_pool2d.default:
        return None
    size = node.args[0].meta["val"].shape[-2:]  # type: ignore[union-attr]
    wanted = each_side(arguments["output_size"])
    if any(length % count for length, count in zip(size, wanted, strict=True)):
        return None
    kernel = [length // count for length, count in zip(size, wanted, strict=True)]
    return F.avg_pool2d, (arguments["self"], kernel, kernel), {}
