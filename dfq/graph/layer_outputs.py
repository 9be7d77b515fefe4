"""Runs a traced network node by node and hands out the outputs of its matrix layers."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.quantizers.quantized_layers import MATRIX_LAYERS


def matrix_calls(network: fx.GraphModule) -> dict[str, fx.Node]:
    """Maps the name of each convolution and linear layer that is called exactly once to its node.

    A layer that is called twice computes two tensors, and so has no statistics of its own.
    """
    targets = [node.target for node in network.graph.nodes if node.op == "call_module"]
    return {
        str(node.target): node
        for node in network.graph.nodes
        if node.op == "call_module" and targets.count(node.target) == 1 and is_matrix_layer(node, network)
    }


def is_matrix_layer(node: fx.Node, network: fx.GraphModule) -> bool:
    return node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), MATRIX_LAYERS)


def channel_dimension(layer: nn.Module) -> int:
    """Returns the dimension of the channels in a layer's output.

    A convolution gives (N, C, H, W), a linear layer (N, …, C).
    """
    return 1 if isinstance(layer, nn.Conv2d) else -1


def along_channels(values: Tensor, output: Tensor, layer: nn.Module) -> Tensor:
    """Reshapes `values` (C,) so that they broadcast over the layer's output."""
    shape = [1] * output.dim()
    shape[channel_dimension(layer)] = -1
    return values.view(shape)


def channel_moments(output: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation of each channel of a layer's output, (C,) in float32."""
    deviation, mean = torch.std_mean(output.float(), _other_dimensions(output, layer), correction=0)
    return mean, deviation


def _other_dimensions(output: Tensor, layer: nn.Module) -> list[int]:
    channel = channel_dimension(layer) % output.dim()
    return [dimension for dimension in range(output.dim()) if dimension != channel]


class LayerVisitor(fx.Interpreter):
    """Runs a network, and replaces the output of each layer of `matrix_calls` by `visit(layer name, output)`."""

    def __init__(self, network: fx.GraphModule, visit: Callable[[str, Tensor], Tensor]):
        super().__init__(network)
        self.names = {node: name for name, node in matrix_calls(network).items()}
        self.visit = visit

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        return self.visit(self.names[n], result) if n in self.names else result


class LayerSteps(fx.Interpreter):
    """Runs a network from layer to layer, so that two networks can be compared without keeping what they give.

    Args:
        network: Traced network.
    """

    def __init__(self, network: fx.GraphModule):
        super().__init__(network)
        self.names = {node: name for name, node in matrix_calls(network).items()}

    def outputs(self, images: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yields the name and the output of each layer of `matrix_calls`, before anything is computed from it."""
        self.env, self.args_iter = {}, iter((images,))
        for node in self.graph.nodes:
            self.env[node] = self.run_node(node)
            if node in self.names:
                yield self.names[node], self.env[node]
            for spent in self.user_to_last_uses.get(node, ()):
                del self.env[spent]
