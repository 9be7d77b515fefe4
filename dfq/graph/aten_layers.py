"""ATen operators as layers and functions of torch: one row per operator.

A graph of `torch.export` has no layers left, only operators with tensors; quantization needs the layers. An operator
without a row stays what it is: torch runs it, in floating point.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.pooling import GlobalAveragePool

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
    """The layer with these tensors: a parameter is taken over as it is, so that two owners may share it."""
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if name in ("weight", "bias"):
            trains = tensor.requires_grad
            setattr(layer, name, tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor.detach(), trains))
        else:
            setattr(layer, name, tensor)
    return layer.eval()


def _convolution(a: Arguments) -> nn.Module:
    out, channels, *kernel = a["weight"].shape
    padding = a["padding"] if isinstance(a["padding"], str) else _each(a["padding"])
    layer = nn.Conv2d(
        channels * a["groups"], out, tuple(kernel), _each(a["stride"]), padding, _each(a["dilation"]), a["groups"],
        bias=a["bias"] is not None, device="meta",
    )  # fmt: skip
    return _with(layer, weight=a["weight"], bias=a["bias"])


def _each(sizes: list[int]) -> tuple[int, ...]:
    """Height and width, where a list of one number stands for both."""
    return tuple(sizes) * (2 // len(sizes))


def _linear(a: Arguments) -> nn.Module:
    out, features = a["weight"].shape
    layer = nn.Linear(features, out, bias=a["bias"] is not None, device="meta")
    return _with(layer, weight=a["weight"], bias=a["bias"])


def _batch_norm(a: Arguments) -> nn.Module:
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(a["rank"], nn.BatchNorm1d)
    affine = a["weight"] is not None or a["bias"] is not None
    mean = a["running_mean"]
    layer = kind(len(mean), eps=a["eps"], momentum=a["momentum"], affine=affine, device=mean.device)
    tensors = {name: a[name] for name in ("weight", "bias", "running_mean", "running_var")}
    return _with(layer, **tensors)


@dataclass(frozen=True)
class LayerRow:
    """How an operator becomes a layer.

    Attributes:
        make: arguments, tensors of the network in place of its nodes, → the layer; None where there is none like it.
        weight: the argument by which the layer is named; it must be a tensor of the network.
        read: the argument that depends on the images.
    """

    make: Callable[[Arguments], nn.Module | None]
    weight: str = "weight"
    read: str = "input"


def _whole_convolution(a: Arguments) -> nn.Module | None:
    return None if a["transposed"] or a["weight"].dim() != 4 else _convolution(a)


def _product(a: Arguments) -> nn.Module | None:
    """x · W as a linear layer of Wᵀ."""
    matrix = a.get("mat2", a.get("other"))
    return _linear({"weight": matrix.mT.contiguous(), "bias": None}) if matrix.dim() == 2 else None


def _sum_and_product(a: Arguments) -> nn.Module | None:
    if (a["alpha"], a["beta"]) != (1, 1) or a["self"].dim() != 1:
        return None
    return _linear({"weight": a["mat2"].mT.contiguous(), "bias": a["self"]})


LAYERS: dict[Any, LayerRow] = {
    ATEN.conv2d.default: LayerRow(_convolution),
    ATEN.conv2d.padding: LayerRow(_convolution),
    ATEN.convolution.default: LayerRow(_whole_convolution),
    ATEN.linear.default: LayerRow(_linear),
    ATEN.mm.default: LayerRow(_product, "mat2", "self"),
    ATEN.matmul.default: LayerRow(_product, "other", "self"),
    ATEN.addmm.default: LayerRow(_sum_and_product, "mat2", "mat1"),
    ATEN.batch_norm.default: LayerRow(_batch_norm, "running_mean"),
    ATEN._native_batch_norm_legit_no_training.default: LayerRow(_batch_norm, "running_mean"),
}
# Operators with weights that no integer kernel here computes: their multiply–accumulates are counted in floating point.
FLOAT_LAYERS = (
    ATEN.conv1d.default, ATEN.conv1d.padding, ATEN.conv3d.default, ATEN.conv3d.padding, ATEN.convolution.default,
    ATEN.conv_transpose1d.default, ATEN.conv_transpose2d.input, ATEN.conv_transpose3d.input, ATEN.lstm.input,
    ATEN.gru.input,
)  # fmt: skip
BATCH_NORMS = (
    ATEN.batch_norm.default, ATEN._native_batch_norm_legit.no_stats, ATEN._native_batch_norm_legit.default
)  # fmt: skip

Call = tuple[Callable, tuple, dict[str, Any]]  # function, positional arguments, keywords


def _index(dim: int, index: Any) -> tuple:
    """An index along a dimension counted from the front, or from the back where `dim` is negative."""
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
    """The same operation under torch's own name; `keywords`: torch's name → the schema's."""
    return lambda a: (function, tuple(a[name] for name in names), {k: a[name] for k, name in keywords.items()})


POOLING = ("kernel_size", "stride", "padding")
# Operator → the call that `dfq.operators` knows; None from it: leave the operator.
FUNCTIONS: dict[Any, Callable[[Arguments], Call | None]] = {
    **dict.fromkeys((ATEN.relu.default, ATEN.relu_.default), _plain(F.relu, "self")),
    **dict.fromkeys((ATEN.relu6.default, ATEN.relu6_.default), _plain(F.relu6, "self")),
    **dict.fromkeys(
        (ATEN.hardtanh.default, ATEN.hardtanh_.default, ATEN.clamp.default, ATEN.clamp_min.default), _clamp
    ),
    **dict.fromkeys((ATEN.add.Tensor, ATEN.add_.Tensor), _plain(operator.add, "self", "other")),  # `alpha`: `WEIGHTED`
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
WEIGHTED = (ATEN.add.Tensor, ATEN.add_.Tensor, ATEN.sub.Tensor, ATEN.sub_.Tensor)  # x ± alpha · y
DROPOUTS = {
    ATEN.dropout.default: nn.Dropout,
    ATEN.dropout_.default: nn.Dropout,
    ATEN.feature_dropout.default: nn.Dropout2d,
    ATEN.alpha_dropout.default: nn.AlphaDropout,
}
# Nothing in evaluation mode, or in whatever layout memory has. A copy is none in a graph without in-place operators.
IDENTITIES = (
    *DROPOUTS, ATEN.contiguous.default, ATEN.detach.default, ATEN.alias.default, ATEN.lift_fresh_copy.default,
    ATEN.clone.default, ATEN.detach_.default,
)  # fmt: skip


def changes_nothing(function: Callable, args: tuple) -> bool:
    """Whether a call gives back its first argument: x + 0, x · 1, windows of one pixel."""
    neutral = {operator.add: 0, operator.sub: 0, operator.mul: 1, operator.truediv: 1}
    if function in neutral:
        return isinstance(args[1], (int, float)) and args[1] == neutral[function]
    return function is F.avg_pool2d and args[1:] == ([1, 1], [1, 1])


POOLINGS = (ATEN.adaptive_avg_pool2d.default, ATEN.mean.dim)  # layers or functions, by their sizes


def uses_batch_statistics(node: fx.Node) -> bool:
    """Whether it normalises by the statistics of the batch: the answer to one image depends on the others.

    Normalization within each image is done by the same operators, on one row that holds all images.
    """
    if node.target not in BATCH_NORMS or not arguments_of(node)["training"]:
        return False
    rows = node.args[0].meta["val"].shape[0]  # type: ignore[union-attr]
    return not (isinstance(rows, int) and rows == 1)


def is_check(node: fx.Node) -> bool:
    """Whether it only asserts something, such as the type of a tensor."""
    name = str(node.target)
    return node.op == "call_function" and ("_assert" in name or "sym_constrain" in name)


def global_pooling(node: fx.Node, arguments: Arguments) -> GlobalAveragePool | None:
    """The layer of a mean over all pixels of maps (N, C, H, W); None where `node` is something else."""
    value = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], fx.Node) else None
    if not isinstance(value, Tensor) or value.dim() != 4:
        return None
    if node.target is ATEN.adaptive_avg_pool2d.default:
        return GlobalAveragePool() if _each(arguments["output_size"]) == (1, 1) else None
    if node.target is ATEN.mean.dim and arguments["dtype"] is None and arguments["dim"]:
        dims = sorted(dim % 4 for dim in arguments["dim"])
        return GlobalAveragePool(bool(arguments["keepdim"])) if dims == [2, 3] else None
    return None


def even_pooling(node: fx.Node, arguments: Arguments) -> Call | None:
    """Adaptive average pooling whose windows are all alike, as average pooling; None for any other."""
    if node.target is not ATEN.adaptive_avg_pool2d.default:
        return None
    size = node.args[0].meta["val"].shape[-2:]  # type: ignore[union-attr]
    wanted = _each(arguments["output_size"])
    if any(length % count for length, count in zip(size, wanted, strict=True)):
        return None
    kernel = [length // count for length, count in zip(size, wanted, strict=True)]
    return F.avg_pool2d, (arguments["self"], kernel, kernel), {}
