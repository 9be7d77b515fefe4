"""Finds layers that hand each other one feature map whose channels can be rescaled on the way."""

from dataclasses import dataclass
from math import inf, prod

import torch
from torch import fx, nn
from torch.nn import functional as F

from dfq.graph.channel_relu6 import RELU6_LIMIT
from dfq.graph.global_pooling import GlobalAveragePool
from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.operators import Kind, is_relu6, is_tensor, kind_of
from dfq.graph.zero_padding import pads_maps

# For these, f(s · x) = s · f(x) for s > 0, channel by channel, in maps (N, C, H, W).
POOLINGS = (F.max_pool2d, F.avg_pool2d)
FLATTENINGS = (torch.flatten, torch.reshape)


@dataclass(frozen=True)
class Pair:
    """Two layers, one of which alone reads what the other computes.

    Attributes:
        first: Name of the layer that writes the map.
        second: Name of the layer that reads it.
        rectified: Whether a ReLU is between the two.
        ceiling: Value at which the map ends, which is 6 behind a ReLU6.
    """

    first: str
    second: str
    rectified: bool
    ceiling: float = inf


def find_pairs(network: fx.GraphModule) -> list[Pair]:
    """Returns the pairs of a graph of `dfq.graph.folding.canonical`, in its order.

    Between the two there may be ReLU, ReLU6, maximum and average pooling, zero padding and flattening, with one reader
    each. There is no addition, no concatenation, and no layer that is called twice.
    """
    names = {node: name for name, node in matrix_calls(network).items()}
    pairs = []
    for node, name in names.items():
        path = path_from(node, network)
        last = path[-1]
        if last is not node and last in names and _channels_fit(path, network):
            rectifiers = [step for step in path[1:-1] if kind_of(step, network) is Kind.RELU]
            ceiling = RELU6_LIMIT if any(is_relu6(step, network) for step in rectifiers) else inf
            pairs.append(Pair(name, names[last], bool(rectifiers), ceiling))
    return pairs


def path_from(node: fx.Node, network: fx.GraphModule) -> list[fx.Node]:
    """Returns the path from `node` over operators that scale along to the first one that does not.

    Where paths fork, it is `node` alone. ReLU6 scales along below its ceiling.
    """
    path = [node]
    while path[-1] is node or scales_along(path[-1], network):
        readers = [user for user in path[-1].users if is_tensor(user) or user.op == "output"]
        if len(readers) != 1:
            return [node]
        path.append(readers[0])
    return path


def scales_along(node: fx.Node, network: fx.GraphModule) -> bool:
    """Tells whether factors of channels, which are dimension 1 of what a node reads, pass the node."""
    if kind_of(node, network) is Kind.RELU:
        return True
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), GlobalAveragePool)
    return node.target in POOLINGS or pads_maps(node, network) or _flattens(node)


def _flattens(node: fx.Node) -> bool:
    """Tells whether a node turns (N, C, …) into (N, C · …), so that the values of each channel stay side by side."""
    if node.target not in FLATTENINGS:
        return False
    before = _shape(node.args[0])
    return _shape(node) == (before[0], prod(before[1:]))


def _shape(node: object) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape) if isinstance(node, fx.Node) else ()


def _channels_fit(path: list[fx.Node], network: fx.GraphModule) -> bool:
    """Tells whether the second layer's inputs are the first one's outputs, in order and at the right dimension."""
    first, second = (network.get_submodule(str(node.target)) for node in (path[0], path[-1]))
    read = _shape(path[-2])
    if isinstance(first, nn.Linear):  # Pooling would act on other dimensions of maps (N, …, C).
        only_relu = all(kind_of(step, network) is Kind.RELU for step in path[1:-1])
        return only_relu and isinstance(second, nn.Linear)
    return len(read) == (4 if isinstance(second, nn.Conv2d) else 2)
