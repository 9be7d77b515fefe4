"""Finds the tensors whose channels may be rescaled together, because all their writers and readers are known.

f(s · x) = s · f(x) for s > 0 holds for ReLU, pooling, flattening, zero padding and addition. So where matrix layers
write a tensor, such operators alone pass it on, and matrix layers read it, a channel may be divided by a factor where
it is written and multiplied by it where it is read. A pair of layers is the smallest such group. The residual stream of
a network is a group of many writers and readers, whether there are activations on it or not.
"""

from dataclasses import dataclass, field

from torch import fx, nn

from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.operators import ADDITIONS, Kind, is_relu6, is_tensor, kind_of
from dfq.post_training.equalization.layer_pairs import scales_along


@dataclass(frozen=True)
class ChannelGroup:
    """Tensors with the same channels, and all layers that write or read one of them.

    Attributes:
        writers: Names of the layers that write one of the tensors.
        readers: The layers that read one of them, by name; the node, of the network that was searched, whose tensor
            each reads.
        ceilings: Calls of ReLU6 on the way, which scale along below their ceiling only.
        channels: Number of channels. A flattened map has as many features for each of them as it had pixels.
        dimension: Dimension of the channels in each tensor.
    """

    writers: tuple[str, ...]
    readers: dict[str, fx.Node]
    ceilings: tuple[fx.Node, ...]
    channels: int
    dimension: int


@dataclass
class _Found:
    """A group while it is searched for.

    Attributes:
        writers: Layers that write a tensor of the group.
        readers: Layers that read one, each with what it reads.
        steps: Operators between them.
        is_open: Whether something else writes or reads a tensor of the group.
    """

    writers: list[fx.Node] = field(default_factory=list)
    readers: list[tuple[fx.Node, fx.Node]] = field(default_factory=list)
    steps: list[fx.Node] = field(default_factory=list)
    is_open: bool = False


def find_channel_groups(network: fx.GraphModule) -> list[ChannelGroup]:
    """Returns the groups of a graph of `dfq.graph.folding.canonical`, in the order in which they are written first.

    Concatenations, products, normalizations and the network's input and output end the search: a tensor that one of
    them touches is in no group. So is one that a layer touches that is called twice.
    """
    names = {node: name for name, node in matrix_calls(network).items()}
    parents: dict[fx.Node, fx.Node] = {node: node for node in network.graph.nodes}
    for node in network.graph.nodes:
        if node not in names and _passes_on(node, network):
            for source in filter(is_tensor, node.all_input_nodes):
                parents[_root(source, parents)] = _root(node, parents)
    found: dict[fx.Node, _Found] = {}
    for node in network.graph.nodes:
        if not (is_tensor(node) or node.op == "output"):  # It is a size or another number.
            continue
        own = found.setdefault(_root(node, parents), _Found())
        if node not in names and _passes_on(node, network):
            own.steps.append(node)
            continue
        for source in filter(is_tensor, node.all_input_nodes):
            read = found[_root(source, parents)]
            read.readers.append((node, source))
            read.is_open |= node not in names
        own.writers.append(node)
        own.is_open |= node not in names
    return [_group(group, names, network) for group in found.values() if _is_closed(group, network)]


def _group(found: _Found, names: dict[fx.Node, str], network: fx.GraphModule) -> ChannelGroup:
    return ChannelGroup(
        tuple(names[node] for node in found.writers),
        {names[layer]: source for layer, source in found.readers},
        tuple(node for node in found.steps if is_relu6(node, network)),
        len(network.get_submodule(names[found.writers[0]]).get_parameter("weight")),
        -1 if _is_last(found, network) else 1,
    )


def _passes_on(node: fx.Node, network: fx.GraphModule) -> bool:
    """Tells whether a factor of a channel may pass a node."""
    return scales_along(node, network) or _adds_alike(node)


def _adds_alike(node: fx.Node) -> bool:
    """Tells whether a node adds two tensors of one shape."""
    terms = node.args[:2]
    if node.target not in ADDITIONS or len(terms) < 2 or not all(is_tensor(term) for term in terms):
        return False
    return len({_shape(term) for term in terms}) == 1


def _root(node: fx.Node, parents: dict[fx.Node, fx.Node]) -> fx.Node:
    while parents[node] is not node:
        node = parents[node]
    return node


def _is_closed(group: _Found, network: fx.GraphModule) -> bool:
    """Tells whether layers alone write and read a group, each at the dimension of the channels."""
    if group.is_open or not group.writers or not group.readers:
        return False
    if not all(len(_shape(step)) == 4 for step in group.steps if is_relu6(step, network)):
        return False  # Only maps have ceilings of channels.
    if _is_last(group, network):  # Pooling and flattening would act on other dimensions.
        elementwise = all(kind_of(step, network) is Kind.RELU or step.target in ADDITIONS for step in group.steps)
        layers = (*group.writers, *(layer for layer, _ in group.readers))
        return elementwise and all(_reads_last(layer, network) for layer in layers)
    return all(len(_shape(s)) == (2 if _reads_last(r, network) else 4) for r, s in group.readers)


def _is_last(group: _Found, network: fx.GraphModule) -> bool:
    """Tells whether the tensors of a group are (N, …, C), as linear layers write them."""
    return any(_reads_last(node, network) and len(_shape(node)) > 2 for node in group.writers)


def _reads_last(layer: fx.Node, network: fx.GraphModule) -> bool:
    """Tells whether a layer's channels are the last dimension."""
    return isinstance(network.get_submodule(str(layer.target)), nn.Linear)


def _shape(node: object) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape) if isinstance(node, fx.Node) else ()
