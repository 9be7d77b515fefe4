"""Folds the factors and offsets that a network applies to its feature maps into the layer in front of them.

Layer scale, residual factors and learned affine maps compute x · factor + offset, with one number for all channels or
one for each. Behind a layer whose output nothing else reads, that amounts to another weight and bias, also where the
output is permuted in between, as in ConvNeXt. Behind anything else that gives a map (N, C, H, W), it becomes a
depthwise 1×1 convolution, as a lone BatchNorm does.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS, WAS_NORM, calls_of
from dfq.graph.operators import Kind, is_tensor, kind_of

OPERATORS = (operator.mul, operator.truediv, operator.add, operator.sub)


def spell_out_hard_sigmoids(network: fx.GraphModule) -> None:
    """Replaces each hard sigmoid behind a layer by the steps of min(max(x + 3, 0), 6) / 6, in place.

    All of them but the clipping can be folded.
    """
    for node in list(network.graph.nodes):
        if node.target is not F.hardsigmoid or _layer(node.args[0], network) is None:
            continue
        value, steps = node.args[0], ((operator.add, (3.0,)), (F.relu6, ()), (operator.mul, (1 / 6,)))
        with network.graph.inserting_before(node):
            for function, numbers in steps:
                value = network.graph.call_function(function, (value, *numbers))  # type: ignore[arg-type]
                value.meta = dict(node.meta)
        node.replace_all_uses_with(value)
        network.graph.erase_node(node)


@torch.no_grad()
def fold_affine_maps(network: fx.GraphModule) -> None:
    """Folds every factor and offset of a graph without BatchNorm for which that is possible, in place."""
    for node in list(network.graph.nodes):
        if node.target not in OPERATORS or node.kwargs:
            continue
        source = node.args[0]
        constant = _constant(node.args[1], network)
        if constant is None and node.target in (operator.mul, operator.add):  # in either order
            source, constant = node.args[1], _constant(node.args[0], network)
        if constant is None or not is_tensor(source) or source.op in ("placeholder", "get_attr"):
            continue
        start, dimension = _moved_from(source, network)
        layer = _layer(start, network)
        if layer is None:
            dimension = 1 if _is_map(source, network) else None
        channels = None if dimension is None else _by_channel(constant, source, dimension)
        if channels is None:
            continue
        factor, offset = _affine(node.target, channels)
        if layer is None:
            start = source = _insert_convolution(node, source, len(channels), network)
            layer = network.get_submodule(str(source.target))
        _fold(layer, factor, offset, start)
        node.replace_all_uses_with(source)
        network.graph.erase_node(node)
    network.graph.eliminate_dead_code()
    network.recompile()


def _constant(value: Any, network: fx.GraphModule) -> Tensor | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return torch.tensor(float(value), dtype=torch.float64)
    if not (isinstance(value, fx.Node) and value.op == "get_attr"):
        return None
    owner, _, name = str(value.target).rpartition(".")
    tensor = getattr(network.get_submodule(owner), name)
    return tensor.detach() if tensor.is_floating_point() else None


def _layer(source: fx.Node, network: fx.GraphModule) -> nn.Module | None:
    layer = network.get_submodule(str(source.target)) if source.op == "call_module" else None
    is_alone = isinstance(layer, (nn.Conv2d, nn.Linear)) and len(source.users) == 1
    return layer if is_alone and calls_of(network, source.target) == 1 else None


def _moved_from(source: fx.Node, network: fx.GraphModule) -> tuple[fx.Node, int | None]:
    """Returns the node that gives the values which permutations lead to `source`, and the place of its channels there.

    The place is a dimension of `source`. Permutations that something else reads, too, are not looked behind.
    """
    orders = []
    while source.target in (torch.permute, torch.transpose) and len(source.users) == 1:
        orders.append(_order(source))
        source = source.args[0]  # type: ignore[assignment]
    layer = _layer(source, network)
    rank = len(getattr(source.meta["tensor_meta"], "shape", ()))
    dimension = None if layer is None else 1 if isinstance(layer, nn.Conv2d) else rank - 1
    for order in reversed(orders):
        dimension = None if dimension is None else order.index(dimension)
    return source, dimension


def _order(move: fx.Node) -> list[int]:
    """Returns the dimension that each dimension of a permuted tensor was before."""
    rank, given = len(move.meta["tensor_meta"].shape), move.args[1:]
    if move.target is torch.permute:
        return [dimension % rank for dimension in given[0]]  # type: ignore[union-attr, operator]
    order = list(range(rank))
    first, second = (dimension % rank for dimension in given)  # type: ignore[operator]
    order[first], order[second] = order[second], order[first]
    return order


def _is_map(source: fx.Node, network: fx.GraphModule) -> bool:
    """Returns whether a node gives a feature map (N, C, H, W) that integer kernels compute."""
    shape = getattr(source.meta["tensor_meta"], "shape", ())
    kinds = (Kind.RELU, Kind.INTEGER, Kind.MATRIX)
    return len(shape) == 4 and kind_of(source, network) in kinds and not _writes_channels_last(source, network)


def _writes_channels_last(source: fx.Node, network: fx.GraphModule) -> bool:
    layer = network.get_submodule(str(source.target)) if source.op == "call_module" else None
    return isinstance(layer, nn.Linear)


def _by_channel(constant: Tensor, source: fx.Node, dimension: int) -> Tensor | None:
    """Returns the constant as (C,) in float64, or None where it has more than one number for a channel."""
    shape = source.meta["tensor_meta"].shape
    rank, channels = len(shape), shape[dimension]
    if constant.dim() > rank:
        return None
    if constant.numel() == 1:
        return constant.double().flatten().expand(channels).clone()
    if constant.numel() != channels:
        return None
    place = (dimension % rank) - (rank - constant.dim())
    return constant.double().flatten().clone() if place >= 0 and constant.shape[place] == channels else None


def _affine(function: Any, constant: Tensor) -> tuple[Tensor, Tensor]:
    one, zero = torch.ones_like(constant), torch.zeros_like(constant)
    if function is operator.mul:
        return constant, zero
    if function is operator.truediv:
        return constant.reciprocal(), zero
    return one, constant if function is operator.add else -constant


def _insert_convolution(node: fx.Node, source: fx.Node, channels: int, network: fx.GraphModule) -> fx.Node:
    like = next(network.parameters())
    identity = nn.Conv2d(channels, channels, 1, groups=channels, device=like.device, dtype=like.dtype).eval()
    identity.weight.fill_(1.0)
    identity.bias.zero_()  # type: ignore[union-attr]
    setattr(identity, WAS_NORM, True)
    name = f"affine_{node.name}"
    network.add_submodule(name, identity)
    with network.graph.inserting_before(node):
        call = network.graph.call_module(name, (source,))
    call.meta = dict(node.meta)
    return call


def _fold(layer: nn.Module, factor: Tensor, offset: Tensor, source: fx.Node) -> None:
    weight: Any = layer.weight
    bias = torch.zeros_like(factor) if layer.bias is None else layer.bias.double()  # type: ignore[operator]
    factor, offset = factor.to(weight.device), offset.to(weight.device)
    column = factor.view(-1, *[1] * (weight.dim() - 1))
    layer.weight = nn.Parameter((weight.double() * column).to(weight.dtype))
    layer.bias = nn.Parameter((bias * factor + offset).to(weight.dtype))
    if OUTPUT_MOMENTS in source.meta:
        mean, deviation = source.meta[OUTPUT_MOMENTS]
        source.meta[OUTPUT_MOMENTS] = mean * factor.to(mean) + offset.to(mean), deviation * factor.abs().to(mean)
