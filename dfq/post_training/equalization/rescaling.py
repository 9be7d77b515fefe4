"""The two halves of rescaling a channel: what a layer computes is divided, and what another reads is multiplied."""

import torch
from torch import Tensor, fx, nn

from dfq.graph.channel_relu6 import RELU6_LIMIT, ChannelReLU6
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls


def divide_rows(network: fx.GraphModule, name: str, factors: Tensor) -> None:
    """Divides what layer `name` computes by factors (C,), in place, and its remembered moments, too."""
    layer, node = network.get_submodule(name), matrix_calls(network)[name]
    for parameter in (layer.weight, layer.bias):
        if isinstance(parameter, Tensor):
            parameter.div_(factors.to(parameter).view(-1, *[1] * (parameter.dim() - 1)))
    if OUTPUT_MOMENTS in node.meta:
        node.meta[OUTPUT_MOMENTS] = tuple(moment / factors.to(moment) for moment in node.meta[OUTPUT_MOMENTS])


def multiply_columns(layer: nn.Module, factors: Tensor) -> None:
    """Multiplies what `layer` makes of each input channel by factors (C,), in place."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    columns = by_input_channel(weight, layer, len(factors))
    weight.copy_((columns * factors.to(weight).view(columns.shape[0], 1, -1, 1)).view(weight.shape))


def raise_ceiling(network: fx.GraphModule, node: fx.Node, factors: Tensor) -> None:
    """Makes a ReLU6 clip channels that were divided by factors (C,) where it did before.

    The network must be recompiled afterwards.
    """
    name = f"{node.name}_of_channels"
    before = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(before, ChannelReLU6):  # The factors of two rewritings multiply.
        factors = factors * (RELU6_LIMIT / before.get_buffer("ceiling").flatten()).to(factors)
    network.add_submodule(name, ChannelReLU6(factors))
    node.op, node.target, node.args, node.kwargs = "call_module", name, node.args[:1], {}


def by_input_channel(weight: Tensor, layer: nn.Module, channels: int) -> Tensor:
    """Returns a weight by input channel: (groups, out / groups, channels / groups, weights between two channels).

    In a linear layer behind flattened maps, each channel has as many weights as its map had pixels.
    """
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.reshape(groups, weight.shape[0] // groups, channels // groups, -1)


@torch.no_grad()
def rescale(network: fx.GraphModule, writers: tuple[str, ...], readers: tuple[str, ...], factors: Tensor) -> None:
    """Divides channels by factors (C,) where `writers` compute them, and multiplies where `readers` read; in place."""
    for name in writers:
        divide_rows(network, name, factors)
    for name in readers:
        multiply_columns(network.get_submodule(name), factors)
