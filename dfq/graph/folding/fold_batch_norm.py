"""Removes BatchNorm from a captured network without changing what it computes."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.graph.folding.rectified_moments import before_relu
from dfq.graph.settings import FoldingSettings

BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)
FOLDABLE = (nn.Conv2d, nn.Linear)
WAS_NORM = "was_norm"  # attribute that marks a convolution which was a BatchNorm
# Key in a node's meta of the mean and the standard deviation of its output, each (C,).
OUTPUT_MOMENTS = "output_moments"


def fold_batch_norms(graph_module: fx.GraphModule, *, settings: FoldingSettings = FoldingSettings()) -> None:
    """Folds every evaluation-mode BatchNorm into the layer whose only reader it is, in place.

    That is exact only where BatchNorm normalises the layer's output channels. Behind anything else (a concatenation, an
    addition, an activation) it becomes a depthwise 1×1 convolution: the same affine map per channel, for which integer
    kernels exist. One factor per channel is exact on any per-channel grid. The node that now computes a BatchNorm's
    output keeps its moments under `OUTPUT_MOMENTS`.
    """
    modules = dict(graph_module.named_modules())
    for node in list(graph_module.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, BATCH_NORMS):
            continue
        before = node.args[0]
        layer = modules.get(str(before.target)) if before.op == "call_module" else None
        if _folds(layer, before, node) and calls_of(graph_module, before.target) == 1:
            _fold(layer, norm)
            before.meta[OUTPUT_MOMENTS] = _moments(norm)
            node.replace_all_uses_with(before)
            graph_module.graph.erase_node(node)
        elif _rank(node) in (2, 3, 4):
            _replace(node, norm, graph_module, settings)
    graph_module.recompile()


def _folds(layer: nn.Module | None, before: fx.Node, norm: fx.Node) -> bool:
    """Returns whether a BatchNorm normalises the output channels of the layer in front, and is its only reader."""
    is_along = isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and _rank(norm) == 2)
    return is_along and len(before.users) == 1


def _tell_layer_before_relu(
    source: fx.Node, norm: nn.Module, graph_module: fx.GraphModule, settings: FoldingSettings
) -> None:
    """Stores the moments of a layer that a BatchNorm reads through a ReLU: they follow from its running statistics."""
    layer = source.args[0] if source.target is F.relu else None
    if not isinstance(layer, fx.Node) or layer.op != "call_module" or OUTPUT_MOMENTS in layer.meta:
        return
    if isinstance(graph_module.get_submodule(str(layer.target)), nn.Conv2d) and len(layer.users) == 1:
        layer.meta[OUTPUT_MOMENTS] = before_relu(norm.running_mean, norm.running_var, settings=settings)


def _rank(node: fx.Node) -> int:
    return len(node.meta["tensor_meta"].shape)


def _replace(node: fx.Node, norm: nn.Module, graph_module: fx.GraphModule, settings: FoldingSettings) -> None:
    """Replaces a BatchNorm by a depthwise 1×1 convolution; tensors (N, C) and (N, C, L) get the missing dimensions."""
    name, graph, missing = f"{node.target}", graph_module.graph, 4 - _rank(node)
    if not isinstance(graph_module.get_submodule(name), nn.Conv2d):
        graph_module.set_submodule(name, _as_convolution(norm))
    with graph.inserting_before(node):
        source = node.args[0]
        for _ in range(missing):
            source = graph.call_function(torch.unsqueeze, (source, -1))
            source.meta = {**node.meta}
        call = graph.call_module(name, (source,))
        call.meta = {**node.meta, OUTPUT_MOMENTS: _moments(norm)}
        _tell_layer_before_relu(node.args[0], norm, graph_module, settings)
        result = call
        for _ in range(missing):
            result = graph.call_function(torch.squeeze, (result, -1))
            result.meta = {**node.meta}
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def calls_of(graph_module: fx.GraphModule, target) -> int:
    """Counts the calls of a module in a graph."""
    return sum(node.op == "call_module" and node.target == target for node in graph_module.graph.nodes)


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns the factor and the offset of each channel of a BatchNorm in evaluation mode, (C,) in float64."""
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.double()
    offset = -norm.running_mean.double() * factor
    if norm.bias is not None:
        offset = offset + norm.bias.double()
    return factor.detach(), offset.detach()


def _moments(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns the mean β and the standard deviation |γ| of each output channel.

    These hold on the images that the running statistics are from. The deviation is smaller than |γ| where the variance
    is about as small as ε; it is 0 for a dead channel.
    """
    variance = norm.running_var.detach()
    deviation = (variance / (variance + norm.eps)).sqrt()
    if norm.weight is not None:
        deviation = deviation * norm.weight.detach().abs()
    mean = torch.zeros_like(deviation) if norm.bias is None else norm.bias.detach().clone()
    return mean, deviation


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    factor, offset = _affine(norm)
    column = factor.view(-1, *[1] * (layer.weight.dim() - 1))
    bias = offset if layer.bias is None else layer.bias.detach().double() * factor + offset
    layer.weight = nn.Parameter((layer.weight.detach().double() * column).to(layer.weight.dtype))
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype))


def _as_convolution(norm: nn.Module) -> nn.Conv2d:
    factor, offset = _affine(norm)
    channels = norm.num_features
    convolution = nn.Conv2d(channels, channels, 1, groups=channels, device=norm.running_mean.device).eval()
    with torch.no_grad():
        convolution.weight.copy_(factor.view(-1, 1, 1, 1))
        convolution.bias.copy_(offset)
    setattr(convolution, WAS_NORM, True)
    return convolution
