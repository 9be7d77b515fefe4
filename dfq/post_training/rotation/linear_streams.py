"""Finds the feature maps between convolutions that nothing but additions touches: whole spaces, not single channels.

Inverted residual blocks end in a linear layer. What it writes is added, and read by the next block's first layer, with
no activation on the way. Such a residual stream may be written in any basis (`dfq.post_training.rotation.rotate`).
"""

from dataclasses import dataclass

from torch import fx, nn

from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.operators import ADDITIONS, is_tensor
from dfq.graph.zero_padding import pads_maps


@dataclass(frozen=True)
class LinearStream:
    """Tensors (N, C, H, W) that are added to each other, and all layers that write or read one of them.

    Attributes:
        writers: Names of the convolutions that write the tensors.
        readers: The convolutions that read them, by name; the node, of the network that was searched, whose tensor
            each reads.
    """

    writers: tuple[str, ...]
    readers: dict[str, fx.Node]


def find_linear_streams(network: fx.GraphModule) -> list[LinearStream]:
    """Returns the streams of a graph of `dfq.graph.folding.canonical`, in its order.

    Every tensor of a stream is the output of a convolution without groups or a sum of such tensors, and is read by
    such convolutions, behind zero padding or not, and by these sums alone.
    """
    layers = {node: name for name, node in matrix_calls(network).items() if _mixes_channels(name, network)}
    parents: dict[fx.Node, fx.Node] = {}
    for node in network.graph.nodes:
        if node in layers or _adds_maps(node):
            parents[node] = node
            for source in node.all_input_nodes if node not in layers else ():
                parents.setdefault(source, source)
                parents[_root(source, parents)] = _root(node, parents)
    groups: dict[fx.Node, list[fx.Node]] = {}
    for node in network.graph.nodes:
        if node in parents:
            groups.setdefault(_root(node, parents), []).append(node)
    streams = (_stream(group, layers, network) for group in groups.values())
    return [stream for stream in streams if stream is not None]


def _mixes_channels(name: str, network: fx.GraphModule) -> bool:
    layer = network.get_submodule(name)
    return isinstance(layer, nn.Conv2d) and layer.groups == 1


def _adds_maps(node: fx.Node) -> bool:
    """Tells whether a node adds two maps of one shape, and does nothing else."""
    terms = node.args[:2]
    if node.target not in ADDITIONS or node.kwargs or len(terms) < 2 or not all(is_tensor(term) for term in terms):
        return False
    shapes = {tuple(term.meta["tensor_meta"].shape) for term in terms if isinstance(term, fx.Node)}
    return len(shapes) == 1 and len(next(iter(shapes))) == 4


def _root(node: fx.Node, parents: dict[fx.Node, fx.Node]) -> fx.Node:
    while parents[node] is not node:
        node = parents[node]
    return node


def _stream(nodes: list[fx.Node], layers: dict[fx.Node, str], network: fx.GraphModule) -> LinearStream | None:
    """Returns a stream, or None where something else writes or reads one of its tensors."""
    if not all(node in layers or _adds_maps(node) for node in nodes):
        return None
    readers: dict[str, fx.Node] = {}
    for node in nodes:
        for user in _readers(node, network):
            if user in layers:
                readers[layers[user]] = node
            elif user not in nodes:
                return None
    return LinearStream(tuple(layers[node] for node in nodes if node in layers), readers) if readers else None


def _readers(node: fx.Node, network: fx.GraphModule) -> list[fx.Node]:
    """Returns what reads a node, also behind zero padding, because zeros are zeros in any basis."""
    found: list[fx.Node] = []
    for user in node.users:
        found += _readers(user, network) if pads_maps(user, network) else [user]
    return found
