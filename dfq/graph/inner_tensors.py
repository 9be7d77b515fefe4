"""Reads tensors from inside a network while it runs: attention, and what its layers give."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx

from dfq.graph.attention import Attention, find_attention
from dfq.graph.layer_outputs import channel_dimension, matrix_calls
from dfq.graph.outputs import Outputs


@dataclass(frozen=True)
class InnerTensors:
    """Outputs and inner tensors of one forward pass, in the order of their computation.

    Attributes:
        outputs: What the network gives.
        attention: What each attention computed; empty where the network has none.
        layers: Output of each convolution and linear layer that is called once, (N, C, H, W) or (N, …, C).
        channels: Dimension of the channels of each of them.
    """

    outputs: Outputs
    attention: tuple[Attention, ...]
    layers: tuple[Tensor, ...]
    channels: tuple[int, ...]


class InnerReader:
    """Runs a captured network and returns `InnerTensors`; it shares the network's modules, and so their hooks."""

    def __init__(self, network: fx.GraphModule):
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        outputs = graph.graph_copy(network.graph, copies)
        self._attention = find_attention(network)
        calls = matrix_calls(network)
        self._channels = tuple(channel_dimension(network.get_submodule(name)) for name in calls)
        attended = tuple(tuple(copies[node] for node in found.tensors) for found in self._attention)
        graph.output((outputs, attended, tuple(copies[node] for node in calls.values())))
        self._network = fx.GraphModule(network, graph)

    def __call__(self, images: Tensor) -> InnerTensors:
        outputs, attended, layers = self._network(images)
        with torch.autocast(images.device.type, enabled=False):  # The network itself may run in bfloat16.
            attention = tuple(nodes.read(tensors) for nodes, tensors in zip(self._attention, attended, strict=True))
        return InnerTensors(outputs, attention, layers, self._channels)


_readers: WeakKeyDictionary[fx.GraphModule, InnerReader] = WeakKeyDictionary()


def inner_reader_of(network: fx.GraphModule) -> InnerReader:
    """Returns the network's reader, which is made once."""
    if network not in _readers:
        _readers[network] = InnerReader(network)
    return _readers[network]
