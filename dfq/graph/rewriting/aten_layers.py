"""Turns ATen operators into layers: there is one row per operator.

A graph of `torch.export` has no layers, only operators with tensors, but quantization needs the layers. An operator
without a row stays as it is, and torch runs it in floating point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.graph.global_pooling import GlobalAveragePool

ATEN = torch.ops.aten
# Arguments of an operator by their names in its schema, with the network's tensors in place of their nodes.
Arguments = dict[str, Any]


def arguments_of(node: fx.Node) -> Arguments:
    """Returns all arguments of a call by name, defaults included."""
    schema = node.target._schema  # type: ignore[union-attr]
    values = {argument.name: argument.default_value for argument in schema.arguments}
    names = [argument.name for argument in schema.arguments]
    return values | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def _with(layer: nn.Module, **tensors: Tensor | None) -> nn.Module:
    """Gives a layer these tensors; a parameter is used as it is, so that two owners may share it."""
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
    padding = a["padding"] if isinstance(a["padding"], str) else each_side(a["padding"])
    layer = nn.Conv2d(
        channels * a["groups"], out, tuple(kernel), each_side(a["stride"]), padding, each_side(a["dilation"]),
        a["groups"], bias=a["bias"] is not None, device="meta",
    )  # fmt: skip
    return _with(layer, weight=a["weight"], bias=a["bias"])


def each_side(sizes: list[int]) -> tuple[int, ...]:
    """Returns height and width, where a list of one number stands for both."""
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
    """The rule by which an operator becomes a layer.

    Attributes:
        make: Function from the arguments, with tensors of the network in place of its nodes, to the layer. It returns
            None where there is no such layer.
        weight: Argument by which the layer is named. It must be a tensor of the network.
        read: Argument that depends on the images.
    """

    make: Callable[[Arguments], nn.Module | None]
    weight: str = "weight"
    read: str = "input"


def _whole_convolution(a: Arguments) -> nn.Module | None:
    return None if a["transposed"] or a["weight"].dim() != 4 else _convolution(a)


def _product(a: Arguments) -> nn.Module | None:
    """Makes a linear layer with weight Wᵀ of x · W."""
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
# No integer kernel here computes these operators with weights: their multiply–accumulates count as floating point.
FLOAT_LAYERS = (
    ATEN.conv1d.default, ATEN.conv1d.padding, ATEN.conv3d.default, ATEN.conv3d.padding, ATEN.convolution.default,
    ATEN.conv_transpose1d.default, ATEN.conv_transpose2d.input, ATEN.conv_transpose3d.input, ATEN.lstm.input,
    ATEN.gru.input,
)  # fmt: skip
BATCH_NORMS = (
    ATEN.batch_norm.default, ATEN._native_batch_norm_legit.no_stats, ATEN._native_batch_norm_legit.default
)  # fmt: skip
DROPOUTS = {
    ATEN.dropout.default: nn.Dropout,
    ATEN.dropout_.default: nn.Dropout,
    ATEN.feature_dropout.default: nn.Dropout2d,
    ATEN.alpha_dropout.default: nn.AlphaDropout,
}
POOLINGS = (ATEN.adaptive_avg_pool2d.default, ATEN.mean.dim)  # their sizes decide whether they become layers


def uses_batch_statistics(node: fx.Node) -> bool:
    """Returns whether a node normalises by the statistics of the batch, so that an image's logits depend on the others.

    The same operators also normalise within each image; then they get one row that holds all images.
    """
    if node.target not in BATCH_NORMS or not arguments_of(node)["training"]:
        return False
    rows = node.args[0].meta["val"].shape[0]  # type: ignore[union-attr]
    return not (isinstance(rows, int) and rows == 1)


def is_check(node: fx.Node) -> bool:
    """Returns whether a node only asserts something, such as the type of a tensor."""
    name = str(node.target)
    return node.op == "call_function" and ("_assert" in name or "sym_constrain" in name)


def global_pooling(node: fx.Node, arguments: Arguments) -> GlobalAveragePool | None:
    """Returns the layer of a mean over all pixels of maps (N, C, H, W), or None where `node` is something else."""
    value = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], fx.Node) else None
    if not isinstance(value, Tensor) or value.dim() != 4:
        return None
    if node.target is ATEN.adaptive_avg_pool2d.default:
        return GlobalAveragePool() if each_side(arguments["output_size"]) == (1, 1) else None
    if node.target is ATEN.mean.dim and arguments["dtype"] is None and arguments["dim"]:
        dims = sorted(dim % 4 for dim in arguments["dim"])
        return GlobalAveragePool(bool(arguments["keepdim"])) if dims == [2, 3] else None
    return None
