"""Finds the normalizations whose channels may be rescaled and moved, because matrix layers alone read what they give.

A normalization ends with a factor and an offset of each channel. In front of layers that multiply its output with
matrices, a channel may be moved and divided by any number: the factor and the offset take that in, and the matrices and
their biases take it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.graph.layer_outputs import channel_dimension, matrix_calls
from dfq.graph.norm_affines import Affine, find_affines
from dfq.graph.operators import Kind, is_relu6, is_tensor, kind_of
from dfq.graph.rewriting.aten_layers import ATEN

FLOAT_MOVES = (ATEN.roll.default,)  # These only move values, too, although they have no integer kernel.


@dataclass(frozen=True)
class Reader:
    """A matrix layer that reads what a normalization gives.

    Attributes:
        source: The node whose tensor it reads, of the network that was searched.
        columns: The channel of the normalization that each input feature of the layer comes from, int64 (features,).
    """

    source: fx.Node
    columns: Tensor


@dataclass(frozen=True)
class NormOutput:
    """What a normalization gives, and all layers that read it.

    Attributes:
        affine: The factor and the offset with which it ends.
        readers: The layers, by name.
        can_move: Whether channels may be moved, too: there is an offset, each reader has a bias, and neither zeros nor
            a ReLU come in between.
    """

    affine: Affine
    readers: dict[str, Reader]
    can_move: bool


@dataclass(frozen=True)
class _Path:
    """What is between a normalization and its readers.

    Attributes:
        readers: Each layer, with the node that it reads.
        has_relu: Whether there is a ReLU.
    """

    readers: dict[fx.Node, fx.Node]
    has_relu: bool


@torch.no_grad()
def find_norm_outputs(network: fx.GraphModule, image: Tensor) -> list[NormOutput]:
    """Returns those of a graph of `dfq.graph.folding.canonical`, in its order.

    Between a normalization and its readers there may be ReLU and operators that move values. Where an addition, a
    concatenation, the network's output or a layer that is called twice reads it, a normalization is left out.

    Args:
        network: Traced network.
        image: One normalised image (1, C, H, W). The network runs on it once, with the numbers of channels in place of
            what normalizations give. These tell which channel each feature of a reader comes from.
    """
    names = {node: name for name, node in matrix_calls(network).items()}
    paths = {affine: path for affine in find_affines(network) if (path := _path(affine.node, names, network))}
    numbered = {affine.node: affine for affine in paths}
    wanted = {source for path in paths.values() for source in path.readers.values()}
    numbers = _Numbers(network, numbered, wanted)
    if wanted:
        numbers.run(image)
    found = [_norm_output(affine, path, numbers.seen, names, network) for affine, path in paths.items()]
    return [norm for norm in found if norm is not None]


def _path(start: fx.Node, names: Mapping[fx.Node, str], network: fx.GraphModule) -> _Path | None:
    """Returns what is between a node and the layers that read it; None where something else reads it, too."""
    readers: dict[fx.Node, fx.Node] = {}
    todo, has_relu = [start], False
    while todo:
        node = todo.pop()
        for user in node.users:
            if user in names:
                readers[user] = node
            elif _passes(user, network):
                has_relu |= kind_of(user, network) is Kind.RELU
                todo.append(user)
            elif is_tensor(user) or user.op == "output":  # Others only ask for a size.
                return None
    return _Path(readers, has_relu) if readers else None


def _passes(node: fx.Node, network: fx.GraphModule) -> bool:
    kind = kind_of(node, network)
    is_relu = kind is Kind.RELU and not is_relu6(node, network)
    return is_relu or kind is Kind.PASS or node.target in FLOAT_MOVES


class _Numbers(fx.Interpreter):
    """Runs a network in which each channel of some nodes is its number, from 1 on, and keeps what wanted nodes give."""

    def __init__(self, network: fx.GraphModule, numbered: Mapping[fx.Node, Affine], wanted: set[fx.Node]):
        super().__init__(network)
        self.numbered, self.wanted = numbered, wanted
        self.seen: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.numbered:
            affine = self.numbered[n]
            numbers = torch.arange(1, affine.channels + 1, dtype=result.dtype, device=result.device)
            shape = [1] * result.dim()
            shape[affine.dimension] = -1
            result = numbers.view(shape).expand_as(result).clone()
        if n in self.wanted:
            self.seen[n] = result
        return result


def _norm_output(
    affine: Affine, path: _Path, seen: Mapping[fx.Node, Tensor], names: Mapping[fx.Node, str], network: fx.GraphModule
) -> NormOutput | None:
    """Returns what a normalization gives; None where a feature of a reader does not come from one channel alone."""
    readers, can_move = {}, affine.offset is not None and not path.has_relu
    for node, source in path.readers.items():
        layer = network.get_submodule(names[node])
        numbers = seen[source].transpose(0, channel_dimension(layer)).flatten(1)  # (features, positions)
        columns = numbers.amax(1)
        if not ((numbers == columns[:, None]) | (numbers == 0)).all() or not (columns > 0).all():
            return None
        readers[names[node]] = Reader(source, columns.long() - 1)
        can_move &= layer.bias is not None and bool((numbers > 0).all()) and not _pads(layer)
    return NormOutput(affine, readers, can_move)


def _pads(layer: nn.Module) -> bool:
    """Tells whether a layer reads zeros around its map; "same" counts as padding."""
    return isinstance(layer, nn.Conv2d) and layer.padding != (0, 0)
