"""ATen operators as layers and functions of torch: one row per operator.

A graph of `torch.export` has no layers left, only operators with tensors; quantization needs the layers. An operator
without a row stays what it is: torch runs it, in floating point.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

ATEN = torch.ops.aten
END = 2**63 - 1  # how slices say "to the end"
Arguments = dict[str, Any]  # of an operator, by their names in its schema; tensors of the network as themselves


def arguments_of(node: fx.Node) -> Arguments:
    """All arguments of a call by name, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    values = {argument.name: argument.default_value for argument in schema.arguments}
    names = [argument.name for argument in schema.arguments]
    return values | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _with(layer: nn.Module, **tensors: Tensor | None) -> nn.Module:
    for name, tensor in tensors.items():
        if tensor is not None:
            value = tensor.detach().clone()
            setattr(layer, name, nn.Parameter(value) if name in ("weight", "bias") else value)
    return layer.eval()


def _convolution(a: Arguments) -> nn.Module:
    out, channels, *kernel = a["weight"].shape
    padding = a["padding"] if isinstance(a["padding"], str) else tuple(a["padding"])
    layer = nn.Conv2d(
        channels * a["groups"], out, tuple(kernel), tuple(a["stride"]), padding, tuple(a["dilation"]), a["groups"],
        bias=a["bias"] is not None,
    )  # fmt: skip
    return _with(layer, weight=a["weight"], bias=a["bias"])


def _linear(a: Arguments) -> nn.Module:
    out, features = a["weight"].shape
    return _with(nn.Linear(features, out, bias=a["bias"] is not None), weight=a["weight"], bias=a["bias"])


def _batch_norm(a: Arguments) -> nn.Module:
    kind = {4: nn.BatchNorm2d, 2: nn.BatchNorm1d}.get(a["rank"], nn.BatchNorm1d)
    layer = kind(len(a["running_mean"]), eps=a["eps"], momentum=a["momentum"], affine=a["weight"] is not None)
    tensors = {name: a[name] for name in ("weight", "bias", "running_mean", "running_var")}
    return _with(layer, **tensors)


# Operator → (the arguments that must be tensors of the network, the layer that they make).
LAYERS: dict[Any, tuple[tuple[str, ...], Callable[[Arguments], nn.Module]]] = {
    ATEN.conv2d.default: (("weight",), _convolution),
    ATEN.conv2d.padding: (("weight",), _convolution),
    ATEN.linear.default: (("weight",), _linear),
    ATEN.batch_norm.default: (("running_mean", "running_var"), _batch_norm),
}

Call = tuple[Callable, tuple, dict[str, Any]]  # function, positional arguments, keywords


def _slice(a: Arguments) -> Call:
    end = None if a["end"] is None or a["end"] == END else a["end"]
    index = (slice(None),) * a["dim"] + (slice(a["start"] or None, end, a["step"]),)
    return operator.getitem, (a["self"], index), {}


def _hardtanh(a: Arguments) -> Call | None:
    return (F.relu6, (a["self"],), {}) if (a["min_val"], a["max_val"]) == (0, 6) else None


def _add(a: Arguments) -> Call | None:
    return (operator.add, (a["self"], a["other"]), {}) if a["alpha"] == 1 else None


def _plain(function: Callable, *names: str, **keywords: str) -> Callable[[Arguments], Call]:
    """The same operation under torch's own name; `keywords`: torch's name → the schema's."""
    return lambda a: (function, tuple(a[name] for name in names), {k: a[name] for k, name in keywords.items()})


POOLING = ("kernel_size", "stride", "padding")
# Operator → the call that `dfq.operators` knows; None from it: leave the operator.
FUNCTIONS: dict[Any, Callable[[Arguments], Call | None]] = {
    **dict.fromkeys((ATEN.relu.default, ATEN.relu_.default), _plain(F.relu, "self")),
    **dict.fromkeys((ATEN.relu6.default, ATEN.relu6_.default), _plain(F.relu6, "self")),
    **dict.fromkeys((ATEN.hardtanh.default, ATEN.hardtanh_.default), _hardtanh),
    **dict.fromkeys((ATEN.add.Tensor, ATEN.add_.Tensor), _add),
    **dict.fromkeys((ATEN.mul.Tensor, ATEN.mul_.Tensor), _plain(operator.mul, "self", "other")),
    **dict.fromkeys((ATEN.sigmoid.default, ATEN.sigmoid_.default), _plain(torch.sigmoid, "self")),
    ATEN.cat.default: _plain(torch.cat, "tensors", "dim"),
    ATEN.max_pool2d.default: _plain(F.max_pool2d, "self", *POOLING, "dilation", "ceil_mode"),
    ATEN.avg_pool2d.default: _plain(
        F.avg_pool2d, "self", *POOLING, "ceil_mode", "count_include_pad", "divisor_override"
    ),
    ATEN.adaptive_avg_pool2d.default: _plain(F.adaptive_avg_pool2d, "self", "output_size"),
    ATEN.mean.dim: _plain(torch.mean, "self", "dim", keepdim="keepdim"),
    ATEN.flatten.using_ints: _plain(torch.flatten, "self", "start_dim", "end_dim"),
    **dict.fromkeys((ATEN.view.default, ATEN._unsafe_view.default), _plain(torch.reshape, "self", "size")),
    ATEN.reshape.default: _plain(torch.reshape, "self", "shape"),
    ATEN.permute.default: _plain(torch.permute, "self", "dims"),
    ATEN.transpose.int: _plain(torch.transpose, "self", "dim0", "dim1"),
    ATEN.squeeze.dim: _plain(torch.squeeze, "self", "dim"),
    ATEN.unsqueeze.default: _plain(torch.unsqueeze, "self", "dim"),
    ATEN.chunk.default: _plain(torch.chunk, "self", "chunks", "dim"),
    ATEN.split.Tensor: _plain(torch.split, "self", "split_size", "dim"),
    ATEN.slice.Tensor: _slice,
    ATEN.pad.default: _plain(F.pad, "self", "pad", mode="mode", value="value"),
    ATEN.constant_pad_nd.default: _plain(F.pad, "self", "pad", value="value"),
    ATEN.channel_shuffle.default: _plain(F.channel_shuffle, "self", "groups"),
    ATEN.sym_size.int: _plain(torch.Tensor.size, "self", "dim"),
}
# Nothing in evaluation mode, or in whatever layout memory has.
IDENTITIES = (
    ATEN.dropout.default, ATEN.dropout_.default, ATEN.feature_dropout.default, ATEN.alpha_dropout.default,
    ATEN.contiguous.default, ATEN.detach.default, ATEN.alias.default, ATEN.lift_fresh_copy.default,
)  # fmt: skip
# Of programs after `run_decompositions`, whose layers are in pieces.
DECOMPOSED = (ATEN.convolution.default, ATEN.addmm.default, ATEN._native_batch_norm_legit_no_training.default)
