"""Where quantizers go: decides, for a traced graph and a scheme, which tensors get which grid.

Placements (`Scheme.placement`), each a rule over tensors:
    "edges": every tensor that an integer kernel reads or writes, but for the logits;
    "matrix-inputs": every tensor that a convolution or a linear layer reads;
    "after-relu": every output of ReLU or ReLU6.
A layer's output that only an activation reads is skipped: the quantizer sits behind the activation, where the runtime
absorbs it. Values that are only moved (max pooling, reshaping) share the grid of the tensor they come from.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from dfq.errors import DfqError
from dfq.operators import Kind, is_relu6, kind_of
from dfq.scheme import QuantSpec, Scheme

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
    """All quantizers of a network: `weights` maps a layer's name to its grid, `tensors` lists the activations."""

    weights: dict[str, QuantSpec]
    tensors: list[TensorPlan]


class _Graph:
    """The questions that a placement asks of a graph."""

    def __init__(self, graph_module: fx.GraphModule):
        self.graph_module = graph_module
        self.kinds = {node: kind_of(node, graph_module) for node in graph_module.graph.nodes}
        self.matrix_nodes = [n for n, kind in self.kinds.items() if kind is Kind.MATRIX]

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

    def writes_integers(self, node: fx.Node) -> bool:
        if self.kinds[node] is Kind.RELU:
            source = node.args[0]
            return isinstance(source, fx.Node) and self.is_absorbed(source) and self.writes_integers(source)
        return self.kinds[node] in (Kind.MATRIX, Kind.INTEGER)

    def is_logits(self, node: fx.Node) -> bool:
        return all(reader.op == "output" for reader in self.readers(node))


def _on_edges(graph: _Graph, node: fx.Node) -> bool:
    if graph.is_absorbed(node) or graph.is_logits(node):
        return False
    read = any(graph.kinds[reader] in (Kind.MATRIX, Kind.INTEGER) for reader in graph.readers(node))
    return read or graph.writes_integers(node)


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
    graph = _Graph(graph_module)
    bits = _layer_bits(graph, scheme)
    weights = {layer: scheme.weight_spec(weight_bits) for layer, (weight_bits, _) in bits.items()}
    is_placed = PLACEMENTS[scheme.placement]
    tensors = [
        _tensor_plan(graph, node, scheme, bits)
        for node, kind in graph.kinds.items()
        if _is_one_tensor(node) and kind is not Kind.PASS and is_placed(graph, node)
    ]
    return Plan(weights, tensors)


def _is_one_tensor(node: fx.Node) -> bool:
    meta = node.meta.get("tensor_meta")
    dtype = getattr(meta, "dtype", None)  # a tuple of tensors has none
    return node.op != "output" and dtype is not None and dtype.is_floating_point


def _layer_bits(graph: _Graph, scheme: Scheme) -> dict[str, tuple[int, int]]:
    layers = [str(node.target) for node in graph.matrix_nodes]
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
    return any(graph.kinds[reader] in (Kind.MATRIX, Kind.INTEGER) for reader in graph.readers(moved))
