"""The tensors of a network in order, and what lies above and below each of them."""

from functools import cached_property

import torch
from torch import fx

from dfq.graph.layer_outputs import is_matrix_layer
from dfq.graph.operators import is_tensor
from dfq.graph.outputs import output_nodes
from dfq.graph.shapes import EXAMPLES


class TensorPaths:
    """Answers which tensors of a network are computed from which.

    Sets of tensors are integers, with a bit for each place.

    Attributes:
        network: The network.
        order: The images, and then each tensor that is computed, in order.
        place: Place of each of these nodes in `order`.
        is_layer: Whether each of them is the output of a convolution or a linear layer.
        last_use: Place of the last node that reads each of them; -1 where none does.
        returned: The nodes among them that the network returns.
    """

    def __init__(self, network: fx.GraphModule):
        self.network = network
        images = next(node for node in network.graph.nodes if node.op == "placeholder")
        computed = [n for n in network.graph.nodes if n.op in ("call_module", "call_function") and is_tensor(n)]
        self.order = [images, *computed]
        self.place = {node: place for place, node in enumerate(self.order)}
        self.is_layer = [is_matrix_layer(node, network) for node in self.order]
        self.last_use = [max(readers, default=-1) for readers in map(self._readers, self.order)]
        self.returned = {node for node in output_nodes(network) if node in self.place}

    def can_be_stored(self, node: fx.Node) -> bool:
        """Returns whether a node gives floating-point values of the images, with a row for each image."""
        meta = node.meta["tensor_meta"]
        shape = getattr(meta, "shape", ())  # A tuple of tensors has no shape.
        has_rows = bool(shape) and shape[0] == EXAMPLES and meta.dtype.is_floating_point
        return has_rows and bool(self._above[self.place[node]] & 1)

    def recombine(self, first: fx.Node, second: fx.Node, start: int, layers: int) -> bool:
        """Returns whether two tensors come from one and, read from place `start` on, soon go into one again.

        That is so where no path from the tensor in which they part to the one in which they meet has more than
        `layers` layers. A concatenation behind which there is no layer only arranges what the network returns.
        """
        met = self._reached(first, start) & self._reached(second, start)
        if not met:
            return False
        meeting = (met & -met).bit_length() - 1
        if self.order[meeting].target is torch.cat and not self._below[meeting] & self._layers:
            return False
        common = self._above[self.place[first]] & self._above[self.place[second]]
        return bool(common & self._deep[max(self._depth[meeting] - layers, 0)])

    def _readers(self, node: fx.Node) -> list[int]:
        return [self.place[user] for user in node.users if user in self.place]

    def _sources(self, node: fx.Node) -> list[int]:
        return [self.place[source] for source in node.all_input_nodes if source in self.place]

    def _reached(self, node: fx.Node, start: int) -> int:
        """Returns what is computed of a tensor by readers from place `start` on."""
        reached = 0
        for reader in self._readers(node):
            reached |= self._below[reader] if reader >= start else 0
        return reached

    @cached_property
    def _above(self) -> list[int]:
        """What each tensor is computed of, and the tensor itself."""
        above: list[int] = []
        for place, node in enumerate(self.order):
            above.append(1 << place)
            for source in self._sources(node):
                above[place] |= above[source]
        return above

    @cached_property
    def _below(self) -> list[int]:
        """What is computed of each tensor, and the tensor itself."""
        below = [1 << place for place in range(len(self.order))]
        for place in reversed(range(len(self.order))):
            for source in self._sources(self.order[place]):
                below[source] |= below[place]
        return below

    @cached_property
    def _layers(self) -> int:
        return sum(1 << place for place, is_layer in enumerate(self.is_layer) if is_layer)

    @cached_property
    def _depth(self) -> list[int]:
        """The number of layers on the longest path from the images to each tensor, with the layer that gives it.

        Layers that only scale and shift do not count.
        """
        depth: list[int] = []
        for place, node in enumerate(self.order):
            own = self.is_layer[place] and self.network.get_submodule(str(node.target)).weight[0].numel() > 1
            depth.append(max((depth[source] for source in self._sources(node)), default=0) + own)
        return depth

    @cached_property
    def _deep(self) -> list[int]:
        """For each number of layers, the tensors behind at least as many."""
        deep = [0] * (max(self._depth) + 1)
        for place, depth in enumerate(self._depth):
            deep[depth] |= 1 << place
        for depth in reversed(range(len(deep) - 1)):
            deep[depth] |= deep[depth + 1]
        return deep
