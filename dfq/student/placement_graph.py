"""Answers what a placement asks of a graph: who reads a tensor, which operators run on integers, which gain nothing."""

import torch
from torch import fx, nn

from dfq.graph.folding.fold_batch_norm import WAS_NORM
from dfq.graph.norm_affines import NORMS
from dfq.graph.operators import SIGMOID_GATED, Kind, is_tensor, kind_of
from dfq.quantizers.scheme import Scheme

# Reasons why a layer computes in floating point; `report.json` quotes them.
ONE_POSITION = "by choice: it computes one position from what was pooled in floating point (squeeze-and-excitation)"
FEW_PRODUCTS = "by choice: few products for each output, and an operator without integer kernel reads them"
ON_INTEGERS = (Kind.INTEGER, Kind.GATE)  # these run on integers where everything that they read is integer
ON_FLOATS = (Kind.FLOAT, Kind.GATE)  # for these alone, no conversion is worth its cost


class PlacementGraph:
    """Answers the questions that a placement asks of a graph.

    Attributes:
        graph_module: The graph.
        kinds: Kind of each node, as the scheme's target runs it.
        layers: Names of the matrix layers, in the order of the graph.
        has_gated_activations: Whether the network has SiLU, HardSwish or GELU.
        has_norms: Whether the network has LayerNorm, GroupNorm, InstanceNorm or RMSNorm, which run in floating point.
        first_layers: Names of the layers that read the images.
        last_layers: Names of the layers that write an output.
        float_layers: Why a convolution gains nothing from integers, by the name of the layer.
        integer: Whether each node must write integers.
    """

    def __init__(self, graph_module: fx.GraphModule, scheme: Scheme):
        self.graph_module = graph_module
        self.kinds = {node: kind_of(node, graph_module) for node in graph_module.graph.nodes}
        if not scheme.target.integer_gates:
            self.kinds = {node: Kind.FLOAT if kind is Kind.GATE else kind for node, kind in self.kinds.items()}
        matrices = [node for node, kind in self.kinds.items() if kind is Kind.MATRIX]
        self.layers = list(dict.fromkeys(str(node.target) for node in matrices))
        self.has_gated_activations = any(node.target in SIGMOID_GATED for node in graph_module.graph.nodes)
        self.has_norms = any(node.target in NORMS for node in graph_module.graph.nodes)
        self.first_layers = self._reached(self._readers_of_images(), forward=True)
        self.last_layers = self._reached([n for n in graph_module.graph.nodes if n.op == "output"], forward=False)
        self.float_layers: dict[str, str] = {}
        for _ in range(2):  # the decision on squeeze-and-excitation depends on the layers in front of it
            for node in reversed(matrices):
                reason = self.reason_for_float(node, scheme)
                if reason is not None:
                    self.kinds[node] = Kind.FLOAT
                    self.float_layers[str(node.target)] = reason
        self.integer: dict[fx.Node, bool] = {}
        for node in graph_module.graph.nodes:
            self.integer[node] = self._is_integer(node)

    @property
    def ends(self) -> set[str]:
        """The layers that read the images, and those that write an output."""
        return self.first_layers | self.last_layers

    def _readers_of_images(self) -> list[fx.Node]:
        images = [node for node in self.graph_module.graph.nodes if node.op == "placeholder"]
        return [user for node in images for user in node.users if is_tensor(user)]  # Others only ask for a size.

    def _reached(self, start: list[fx.Node], *, forward: bool) -> set[str]:
        """Returns the names of the layers that come first; a former BatchNorm does not hide the layers after it."""
        found, seen, todo = set[str](), set[fx.Node](), list(start)
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            is_layer = self.kinds[node] is Kind.MATRIX
            if is_layer:
                found.add(str(node.target))
            if not is_layer or getattr(self.graph_module.get_submodule(str(node.target)), WAS_NORM, False):
                todo += [n for n in (node.users if forward else node.all_input_nodes) if is_tensor(n)]
        return found

    def moved(self, node: fx.Node) -> list[fx.Node]:
        """Returns the nodes that only move values of `node`, directly or through one another."""
        direct = [user for user in node.users if self.kinds[user] is Kind.PASS]
        return direct + [further for user in direct for further in self.moved(user)]

    def readers(self, node: fx.Node) -> list[fx.Node]:
        """Returns the nodes that compute with the values of `node`, reached directly or through moves."""
        users = [user for holder in (node, *self.moved(node)) for user in holder.users]
        return [user for user in dict.fromkeys(users) if self.kinds[user] is not Kind.PASS]

    def is_absorbed(self, node: fx.Node) -> bool:
        users = list(node.users)
        return len(users) == 1 and self.kinds[users[0]] is Kind.RELU

    def _is_convolution(self, node: fx.Node) -> bool:
        is_matrix = self.kinds[node] is Kind.MATRIX
        return is_matrix and isinstance(self.graph_module.get_submodule(str(node.target)), nn.Conv2d)

    def reason_for_float(self, node: fx.Node, scheme: Scheme) -> str | None:
        """Returns why a convolution is not worth the conversions around it; None if it is, or if an override names it.

        Few products are a reason only in networks of SiLU, HardSwish and GELU. Of six networks with ReLU, this made two
        slower by 7 and 15 % and two faster by 4 and 7 %.
        """
        target, name = scheme.target, str(node.target)
        if scheme.placement != "edges" or name in scheme.overrides or not self._is_convolution(node):
            return None
        readers = [further for user in self.readers(node) for further in self._behind_relu(user)]
        users = [user for user in readers if is_tensor(user) and user.op != "output"]
        convolution = self.graph_module.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        if self._has_one_position(node):
            only_floats = len(users) == len(readers) and all(self.kinds[user] in ON_FLOATS for user in users)
            gains = not (only_floats and self._is_pooled_in_float(node) and target.min_products > 0)
            return None if gains else ONE_POSITION
        has_few = self.has_gated_activations and convolution.weight[0].numel() < target.min_products
        return FEW_PRODUCTS if has_few and any(self._needs_floats(user) for user in users) else None

    def _needs_floats(self, node: fx.Node) -> bool:
        """Returns whether the node has no integer kernel, or also reads something in floating point."""
        if self.kinds[node] in ON_INTEGERS:
            return any(self._needs_floats(source) for source in node.all_input_nodes if is_tensor(source))
        return self.kinds[node] is Kind.FLOAT

    def _has_one_position(self, node: fx.Node) -> bool:
        return self._is_convolution(node) and node.meta["tensor_meta"].shape[2:].numel() == 1

    def _is_pooled_in_float(self, node: fx.Node) -> bool:
        """Returns whether the tensor from which this convolution's single position was pooled is in floating point."""
        source = node.all_input_nodes[0]
        passes = (*ON_INTEGERS, Kind.PASS, Kind.RELU)
        while source.all_input_nodes and (self.kinds[source] in passes or self._has_one_position(source)):
            source = source.all_input_nodes[0]
        return self.kinds[source] is Kind.FLOAT

    def _behind_relu(self, node: fx.Node) -> list[fx.Node]:
        return self.readers(node) if self.kinds[node] is Kind.RELU else [node]

    def _is_integer(self, node: fx.Node) -> bool:
        """Returns whether `node` must write integers, as convolutions and operators that read only integers do."""
        sources = [source for source in node.all_input_nodes if is_tensor(source)]
        if self.kinds[node] is Kind.RELU and not self.is_absorbed(sources[0]):
            return False
        follows = self.kinds[node] in (*ON_INTEGERS, Kind.PASS, Kind.RELU)
        return self._is_convolution(node) or (follows and all(self.integer[source] for source in sources))

    def reads_integers(self, node: fx.Node) -> bool:
        return self.kinds[node] is Kind.MATRIX or (self.kinds[node] in ON_INTEGERS and self.integer[node])

    def is_first_output(self, node: fx.Node) -> bool:
        """Returns whether the node is the output of a first layer, or an activation of it."""
        while str(node.target) not in self.layers:
            sources = [source for source in node.all_input_nodes if is_tensor(source)]
            if [_shape(source) for source in sources] != [_shape(node)]:
                return False
            node = sources[0]
        return str(node.target) in self.first_layers

    def only_given(self, node: fx.Node) -> bool:
        """Returns whether the values of `node` are what the network gives, and nothing else reads them."""
        return all(reader.op == "output" for reader in self.readers(node))

    def reads_floats(self, node: fx.Node) -> bool:
        """Returns whether a node is an operator that computes in floating point."""
        is_operator = is_tensor(node) and node.op != "output" and self.kinds[node] is not Kind.PASS
        return is_operator and not self.reads_integers(node)

    def leads_to_floats_alone(self, user: fx.Node) -> bool:
        """Returns whether a reader computes in floating point, or moves values that no other operators read."""
        readers = self.readers(user) if self.kinds[user] is Kind.PASS else [user]
        return all(reader.op == "output" or self.reads_floats(reader) for reader in readers)

    def leads_to_output_alone(self, user: fx.Node) -> bool:
        """Returns whether a reader is the output, or a move whose values only the output reads."""
        return user.op == "output" or (self.kinds[user] is Kind.PASS and self.only_given(user))

    def is_map_of_convolution(self, node: fx.Node) -> bool:
        """Returns whether the node is what a convolution gives, or an activation of that, and has several positions."""
        shape = _shape(node)
        source = node.all_input_nodes[0] if self.kinds[node] is Kind.RELU else node
        is_convolution = self.integer[node] and self._is_convolution(source)
        return is_convolution and shape is not None and shape[2:].numel() > 1


def _shape(node: fx.Node) -> torch.Size | None:
    """Returns the shape of a node's output; None where that is a tuple of tensors."""
    return getattr(node.meta["tensor_meta"], "shape", None)
