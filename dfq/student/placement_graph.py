"""What a placement asks of a graph: who reads a tensor, which operators run on integers, which gain nothing."""

import torch
from torch import fx, nn

from dfq.graph.folding.fold_batch_norm import WAS_NORM
from dfq.graph.operators import SIGMOID_GATED, Kind, is_tensor, kind_of
from dfq.quantizers.scheme import Scheme
from dfq.quantizers.targets import find_target

ONE_POSITION = "by choice: it computes one position from what was pooled in floating point (squeeze-and-excitation)"
FEW_PRODUCTS = "by choice: few products for each output, and an operator without integer kernel reads them"
ON_INTEGERS = (Kind.INTEGER, Kind.GATE)  # where all that they read is integer
ON_FLOATS = (Kind.FLOAT, Kind.GATE)  # worth no conversion for their own sake


class PlacementGraph:
    """The questions that a placement asks of a graph."""

    def __init__(self, graph_module: fx.GraphModule, scheme: Scheme):
        self.graph_module = graph_module
        self.kinds = {node: kind_of(node, graph_module) for node in graph_module.graph.nodes}
        if not find_target(scheme.target).integer_gates:
            self.kinds = {node: Kind.FLOAT if kind is Kind.GATE else kind for node, kind in self.kinds.items()}
        matrices = [node for node, kind in self.kinds.items() if kind is Kind.MATRIX]
        self.layers = list(dict.fromkeys(str(node.target) for node in matrices))
        self.has_gated_activations = any(node.target in SIGMOID_GATED for node in graph_module.graph.nodes)
        self.first_layers = self._reached(self._readers_of_images(), forward=True)
        self.last_layers = self._reached([n for n in graph_module.graph.nodes if n.op == "output"], forward=False)
        self.float_layers: dict[str, str] = {}
        for _ in range(2):  # squeeze-and-excitation asks what the layers in front of it do
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
        """The layers that read the images, and those that write the logits."""
        return self.first_layers | self.last_layers

    def _readers_of_images(self) -> list[fx.Node]:
        return [user for node in self.graph_module.graph.nodes if node.op == "placeholder" for user in node.users]

    def _reached(self, start: list[fx.Node], *, forward: bool) -> set[str]:
        """Names of the layers that are met first; one that was a BatchNorm does not hide what lies behind it."""
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
        """Nodes that only move values of `node`, transitively."""
        direct = [user for user in node.users if self.kinds[user] is Kind.PASS]
        return direct + [further for user in direct for further in self.moved(user)]

    def readers(self, node: fx.Node) -> list[fx.Node]:
        """Nodes that compute with the values of `node`, reached directly or through moves."""
        users = [user for holder in (node, *self.moved(node)) for user in holder.users]
        return [user for user in dict.fromkeys(users) if self.kinds[user] is not Kind.PASS]

    def is_absorbed(self, node: fx.Node) -> bool:
        users = list(node.users)
        return len(users) == 1 and self.kinds[users[0]] is Kind.RELU

    def _is_convolution(self, node: fx.Node) -> bool:
        is_matrix = self.kinds[node] is Kind.MATRIX
        return is_matrix and isinstance(self.graph_module.get_submodule(str(node.target)), nn.Conv2d)

    def reason_for_float(self, node: fx.Node, scheme: Scheme) -> str | None:
        """Why a convolution is not worth the conversions around it, unless it is wanted by name; None where it is.

        Few products are a reason only in networks of SiLU, HardSwish and GELU: of six with ReLU, it made two slower by
        7 and 15 % and two faster by 4 and 7 %.
        """
        target, name = find_target(scheme.target), str(node.target)
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
        """Whether it has no integer kernel, or reads something in floating point beside."""
        if self.kinds[node] in ON_INTEGERS:
            return any(self._needs_floats(source) for source in node.all_input_nodes if is_tensor(source))
        return self.kinds[node] is Kind.FLOAT

    def _has_one_position(self, node: fx.Node) -> bool:
        return self._is_convolution(node) and node.meta["tensor_meta"].shape[2:].numel() == 1

    def _is_pooled_in_float(self, node: fx.Node) -> bool:
        """Whether what was pooled for this convolution, or for one of a single position before it, is no integer."""
        source = node.all_input_nodes[0]
        passes = (*ON_INTEGERS, Kind.PASS, Kind.RELU)
        while source.all_input_nodes and (self.kinds[source] in passes or self._has_one_position(source)):
            source = source.all_input_nodes[0]
        return self.kinds[source] is Kind.FLOAT

    def _behind_relu(self, node: fx.Node) -> list[fx.Node]:
        return self.readers(node) if self.kinds[node] is Kind.RELU else [node]

    def _is_integer(self, node: fx.Node) -> bool:
        """Whether `node` must write integers: convolutions, and what is done to integers alone."""
        sources = [source for source in node.all_input_nodes if is_tensor(source)]
        if self.kinds[node] is Kind.RELU and not self.is_absorbed(sources[0]):
            return False
        follows = self.kinds[node] in (*ON_INTEGERS, Kind.PASS, Kind.RELU)
        return self._is_convolution(node) or (follows and all(self.integer[source] for source in sources))

    def reads_integers(self, node: fx.Node) -> bool:
        return self.kinds[node] is Kind.MATRIX or (self.kinds[node] in ON_INTEGERS and self.integer[node])

    def is_first_output(self, node: fx.Node) -> bool:
        """Whether it is what a first layer puts out, or an activation of that."""
        while str(node.target) not in self.layers:
            sources = [source for source in node.all_input_nodes if is_tensor(source)]
            if [_shape(source) for source in sources] != [_shape(node)]:
                return False
            node = sources[0]
        return str(node.target) in self.first_layers

    def is_logits(self, node: fx.Node) -> bool:
        return all(reader.op == "output" for reader in self.readers(node))


def _shape(node: fx.Node) -> torch.Size | None:
    """None of a tuple of tensors."""
    return getattr(node.meta["tensor_meta"], "shape", None)
