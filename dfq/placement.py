"""Where quantizers go: decides, for a traced graph and a scheme, which tensors get which grid.

Placements (`Scheme.placement`), each a rule over tensors:
    "edges": every tensor that an integer kernel reads or must write, but for the logits. Linear layers may write
        floating point at no cost, convolutions may not; additions, concatenations and pooling are integer where all
        that they read is, so that the residual stream of a transformer stays in floating point between its
        normalizations. Convolutions that gain nothing by it stay in floating point (`Target.least_products`), but for
        the grid of their weight;
    "matrix-inputs": every tensor that a convolution or a linear layer reads;
    "after-relu": every output of ReLU or ReLU6.
A layer's output that only an activation reads is skipped: the quantizer sits behind the activation, where the runtime
absorbs it. Values that are only moved (max pooling, reshaping) share the grid of the tensor they come from.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx, nn

from dfq.errors import DfqError
from dfq.operators import Kind, is_relu6, is_tensor, kind_of
from dfq.scheme import QuantSpec, Scheme
from dfq.targets import find_target

RELU6_LIMIT = 6.0


@dataclass(frozen=True)
class TensorPlan:
    """One quantizer: the node whose output it rounds, its grid, and the moved copies that share it."""

    node: fx.Node
    spec: QuantSpec
    scale_limit: float | None
    shared: tuple[fx.Node, ...]


@dataclass(frozen=True)
class Plan:
    """All quantizers of a network: `weights` maps a layer's name to its grid, `tensors` lists the activations.

    `float_layers` have a grid for their weight, but compute in floating point (`_Graph.gains_nothing`).
    """

    weights: dict[str, QuantSpec]
    tensors: list[TensorPlan]
    float_layers: frozenset[str] = frozenset()


class _Graph:
    """The questions that a placement asks of a graph."""

    def __init__(self, graph_module: fx.GraphModule, scheme: Scheme):
        self.graph_module = graph_module
        self.kinds = {node: kind_of(node, graph_module) for node in graph_module.graph.nodes}
        self.layers = [str(node.target) for node, kind in self.kinds.items() if kind is Kind.MATRIX]
        for _ in range(2):  # squeeze-and-excitation asks what the layers in front of it do
            for node in reversed(list(self.kinds)):
                if self.gains_nothing(node, scheme):
                    self.kinds[node] = Kind.FLOAT
        self.integer: dict[fx.Node, bool] = {}
        for node in graph_module.graph.nodes:
            self.integer[node] = self._is_integer(node)
        self.float_layers = {*self.layers} - {str(n.target) for n, kind in self.kinds.items() if kind is Kind.MATRIX}

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

    def gains_nothing(self, node: fx.Node, scheme: Scheme) -> bool:
        """Whether a convolution is not worth the conversions around it, and not wanted by name.

        One of few products per output before an operator without integer kernel; and one that computes a single
        position from a pooled tensor in floating point, for such an operator, as in squeeze-and-excitation.
        """
        target, name = find_target(scheme.target), str(node.target)
        if scheme.placement != "edges" or name in scheme.overrides or not self._is_convolution(node):
            return False
        readers = [further for user in self.readers(node) for further in self._behind_relu(user)]
        in_float = [self.kinds[user] is Kind.FLOAT and is_tensor(user) and user.op != "output" for user in readers]
        convolution = self.graph_module.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d)
        products = convolution.weight[0].numel()
        if self._has_one_position(node):
            return all(in_float) and self._is_pooled_in_float(node) and target.least_products > 0
        return any(in_float) and products < target.least_products

    def _has_one_position(self, node: fx.Node) -> bool:
        return self._is_convolution(node) and node.meta["tensor_meta"].shape[2:].numel() == 1

    def _is_pooled_in_float(self, node: fx.Node) -> bool:
        """Whether what was pooled for this convolution, or for one of a single position before it, is no integer."""
        source = node.all_input_nodes[0]
        passes = (Kind.INTEGER, Kind.PASS, Kind.RELU)
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
        follows = self.kinds[node] in (Kind.INTEGER, Kind.PASS, Kind.RELU)
        return self._is_convolution(node) or (follows and all(self.integer[source] for source in sources))

    def reads_integers(self, node: fx.Node) -> bool:
        return self.kinds[node] is Kind.MATRIX or (self.kinds[node] is Kind.INTEGER and self.integer[node])

    def is_logits(self, node: fx.Node) -> bool:
        return all(reader.op == "output" for reader in self.readers(node))


def _on_edges(graph: _Graph, node: fx.Node) -> bool:
    if graph.is_absorbed(node) or graph.is_logits(node):
        return False
    return graph.integer[node] or any(graph.reads_integers(reader) for reader in graph.readers(node))


def _on_matrix_inputs(graph: _Graph, node: fx.Node) -> bool:
    return any(graph.kinds[reader] is Kind.MATRIX for reader in graph.readers(node))


def _after_relu(graph: _Graph, node: fx.Node) -> bool:
    return graph.kinds[node] is Kind.RELU


PLACEMENTS: dict[str, Callable[[_Graph, fx.Node], bool]] = {
    "edges": _on_edges,
    "matrix-inputs": _on_matrix_inputs,
    "after-relu": _after_relu,
}


def plan(graph_module: fx.GraphModule, scheme: Scheme) -> Plan:
    """The quantizers that `scheme` puts into a graph from `dfq.trace.trace`.

    Raises:
        DfqError: no convolution or linear layer, or an override that names no such layer.
    """
    graph = _Graph(graph_module, scheme)
    bits = _layer_bits(graph, scheme)
    weights = {layer: scheme.weight_spec(weight_bits) for layer, (weight_bits, _) in bits.items()}
    is_placed = PLACEMENTS[scheme.placement]
    tensors = [
        _tensor_plan(graph, node, scheme, bits)
        for node, kind in graph.kinds.items()
        if _is_one_tensor(node) and kind is not Kind.PASS and is_placed(graph, node)
    ]
    return Plan(weights, tensors, frozenset(graph.float_layers))


def _is_one_tensor(node: fx.Node) -> bool:
    meta = node.meta.get("tensor_meta")
    dtype = getattr(meta, "dtype", None)  # a tuple of tensors has none
    return node.op != "output" and dtype is not None and dtype.is_floating_point


def _layer_bits(graph: _Graph, scheme: Scheme) -> dict[str, tuple[int, int]]:
    layers = graph.layers
    if not layers:
        raise DfqError("a network without convolution or linear layers", "at least one", "nothing to quantize here")
    unknown = sorted({*scheme.overrides, *scheme.weight_overrides} - set(layers))
    if unknown:
        raise DfqError(
            f"bits for {', '.join(unknown)}", f"names of layers, such as {', '.join(layers[:3])}", "see `dfq inspect`"
        )
    return {layer: scheme.layer_bits(layer, is_end=layer in (layers[0], layers[-1])) for layer in layers}


def _tensor_plan(graph: _Graph, node: fx.Node, scheme: Scheme, bits: dict[str, tuple[int, int]]) -> TensorPlan:
    readers = graph.readers(node)
    wanted = [bits[str(reader.target)][1] for reader in readers if graph.kinds[reader] is Kind.MATRIX]
    spec = scheme.activation_spec(max(wanted, default=scheme.edge_bits))
    limit = RELU6_LIMIT / spec.q_max if is_relu6(node, graph.graph_module) else None
    shared = tuple(moved for moved in graph.moved(node) if _is_one_tensor(moved) and _read_as_integers(graph, moved))
    return TensorPlan(node, spec, limit, shared)


def _read_as_integers(graph: _Graph, moved: fx.Node) -> bool:
    return any(graph.reads_integers(reader) for reader in graph.readers(moved))
