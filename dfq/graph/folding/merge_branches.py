"""Merges convolutions of one tensor whose results are added, for which RepVGG and MobileOne are made.

The sum of two convolutions is the convolution with the sum of both kernels, where the smaller one is surrounded by
zeros. A lone BatchNorm beside them is a 1×1 convolution of each channel with itself (Ding et al., RepVGG, CVPR 2021,
arXiv 2101.03697). Convolutions are merged wherever that is exact.
"""

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS, calls_of


@torch.no_grad()
def merge_branches(network: fx.GraphModule) -> None:
    """Merges the convolutions of a graph without BatchNorm, in place."""
    for node in list(network.graph.nodes):
        if node.target is not operator.add or node.kwargs:
            continue
        branches = [_branch(term, network) for term in node.args]
        merged = None if None in branches else _merged(*branches)  # type: ignore[arg-type]
        if merged is None:
            continue
        kept, other = sorted(node.args, key=lambda term: -_kernel_area(term, network))  # type: ignore[type-var]
        network.set_submodule(str(kept.target), merged)  # type: ignore[union-attr]
        moments = _summed_moments(kept, other)
        kept.meta.pop(OUTPUT_MOMENTS, None)  # type: ignore[union-attr]
        kept.meta.update({OUTPUT_MOMENTS: moments} if moments else {})  # type: ignore[union-attr]
        node.replace_all_uses_with(kept)
        network.graph.erase_node(node)
        network.graph.erase_node(other)  # type: ignore[arg-type]
    network.recompile()


def _branch(term: Any, network: fx.GraphModule) -> tuple[nn.Conv2d, fx.Node, torch.Size] | None:
    """Returns the convolution that computes a summand, the tensor that it reads, and the shape of its output."""
    if not isinstance(term, fx.Node) or term.op != "call_module" or len(term.users) != 1:
        return None
    layer = network.get_submodule(str(term.target))
    if not isinstance(layer, nn.Conv2d) or calls_of(network, term.target) > 1:
        return None
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    return layer, term.args[0], term.meta["tensor_meta"].shape  # type: ignore[return-value]


def _merged(first: tuple, second: tuple) -> nn.Conv2d | None:
    """Returns one convolution in place of two, or None where that is not exact."""
    (a, read, shape), (b, other_read, other_shape) = first, second
    if a is b or read is not other_read or shape != other_shape or a.stride != b.stride:
        return None
    large, small = (a, b) if a.weight[0, 0].numel() >= b.weight[0, 0].numel() else (b, a)
    groups = min(large.groups, small.groups)
    weights = [_in_groups(layer, groups) for layer in (large, small)]
    is_point = small.weight[0, 0].numel() == 1
    if None in weights or not (large.dilation == small.dilation or is_point):
        return None
    border = _border(large, small)
    if border is None:
        return None
    dtype = a.weight.dtype
    kernel = (weights[0].double() + F.pad(weights[1].double(), border)).to(dtype)  # type: ignore[union-attr]
    merged = nn.Conv2d(
        a.in_channels, a.out_channels, large.kernel_size, large.stride, large.padding, large.dilation, groups,  # type: ignore[arg-type]
        device=kernel.device, dtype=dtype,
    ).eval()  # fmt: skip
    merged.weight.copy_(kernel)
    merged.bias.copy_(sum(_bias(layer) for layer in (large, small)))  # type: ignore[union-attr, arg-type]
    return merged


def _in_groups(layer: nn.Conv2d, groups: int) -> Tensor | None:
    """Returns a layer's weight for `groups` groups, or None where there is none.

    The channels of a depthwise layer become the diagonal of denser groups.
    """
    if layer.groups == groups:
        return layer.weight
    channels = layer.in_channels
    if layer.groups != channels or layer.out_channels != channels or channels % groups:
        return None
    width = channels // groups
    weight = layer.weight.new_zeros(channels, width, *layer.kernel_size)
    index = torch.arange(channels, device=weight.device)
    weight[index, index % width] = layer.weight[:, 0]
    return weight


def _border(large: nn.Conv2d, small: nn.Conv2d) -> tuple[int, ...] | None:
    """Returns the numbers of zeros (left, right, top, bottom) with which the smaller kernel sees the same pixels."""
    border: list[int] = []
    for axis in (1, 0):
        step = large.dilation[axis]
        offset, rest = divmod(large.padding[axis] - small.padding[axis], step)  # type: ignore[operator]
        after = large.kernel_size[axis] - small.kernel_size[axis] - offset
        if rest or offset < 0 or after < 0:
            return None
        border += [offset, after]
    return tuple(border)


def _bias(layer: nn.Conv2d) -> Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias


def _kernel_area(term: Any, network: fx.GraphModule) -> int:
    return network.get_submodule(str(term.target)).weight[0, 0].numel()  # type: ignore[union-attr, operator, index]


def _summed_moments(first: Any, second: Any) -> tuple[Tensor, Tensor] | None:
    """Returns the moments of a sum of independent maps, or None where those of a summand are not known."""
    moments = [term.meta.get(OUTPUT_MOMENTS) for term in (first, second)]
    if None in moments:
        return None
    (mean, deviation), (other_mean, other_deviation) = moments
    return mean + other_mean, (deviation.square() + other_deviation.square()).sqrt()
