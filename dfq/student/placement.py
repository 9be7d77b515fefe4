"""Decides where quantizers go: which tensors get which grid, for a graph and a scheme.

Placements (`Scheme.placement`), each a rule over tensors:
    "edges": Every tensor that an integer kernel reads or must write gets a grid, except for what the network gives.
        Only convolutions that give a map of several positions, as those of detectors and segmentation networks, write
        it on a grid of `Scheme.edge_bits`, because they could not run on integers otherwise. Linear layers may write
        floating point at no cost, convolutions may not. Additions, concatenations, pooling and gates run on
        integers where everything that they read is integer, so that the residual stream of a transformer stays in
        floating point between its normalizations. Convolutions that gain nothing from integers stay in floating point
        (`Target.min_products`), except for the grid of their weight.
    "matrix-inputs": Every tensor that a convolution or a linear layer reads gets a grid.
    "after-relu": Every output of ReLU or ReLU6 gets a grid.
Where additions (or other operators with an integer kernel) read the same tensor as matrix layers of few bits, "edges"
places two grids, one after the other: one of `Scheme.edge_bits` for the additions, so that rounding errors do not pile
up along a residual stream, and the narrow one in front of the matrix layers alone.
In networks of LayerNorm and its kind, that also holds for operators in floating point that read such a tensor
(`Scheme.wide_streams`); where no integers must be written, they read it as it is.
Where the first layer has bits of its own, its output has them too, whichever layers read it.
A layer's output that only an activation reads gets no grid: the quantizer comes after the activation, where the
runtime absorbs the activation. Values that are only moved (max pooling, reshaping) share the grid of the tensor that
they come from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import fx

from dfq.errors import DfqError
from dfq.graph.channel_relu6 import RELU6_LIMIT
from dfq.graph.operators import Kind, is_relu6
from dfq.quantizers.scheme import QuantSpec, Scheme
from dfq.student.placement_graph import PlacementGraph


@dataclass(frozen=True)
class TensorPlan:
    """One quantizer: the node whose output it rounds, its grid, and the moved copies that share the grid.

    Attributes:
        node: The node whose output is rounded.
        spec: The grid.
        scale_limit: Upper bound of the scale (`dfq.quantizers.fake_quantize.FakeQuantize`); None: there is none.
        shared: Nodes that only move these values and share the grid.
        matrix_readers: The calls of matrix layers that read the tensor as integers.
        narrow: A second grid, for what is already on the first one, which `matrix_readers` alone read; None: all
            readers see the first grid.
        spared: Direct readers that see the values as they are, where the node does not have to write integers: what the
            network gives, and what `Scheme.wide_streams` spares.
    """

    node: fx.Node
    spec: QuantSpec
    scale_limit: float | None
    shared: tuple[fx.Node, ...]
    matrix_readers: tuple[fx.Node, ...]
    narrow: QuantSpec | None = None
    spared: tuple[fx.Node, ...] = ()

    @property
    def matrix_spec(self) -> QuantSpec:
        """The grid that matrix layers read."""
        return self.narrow or self.spec


@dataclass(frozen=True)
class QuantizerPlan:
    """All quantizers of a network.

    Attributes:
        weights: The grid of each layer's weight, by the name of the layer.
        tensors: The quantizers of activations.
        float_layers: Layers whose weight has a grid but which compute in floating point: the reason by the name of the
            layer.
    """

    weights: dict[str, QuantSpec]
    tensors: list[TensorPlan]
    float_layers: Mapping[str, str] = field(default_factory=dict)


def _on_edges(graph: PlacementGraph, node: fx.Node) -> bool:
    if graph.is_absorbed(node):
        return False
    if graph.only_given(node):
        return graph.is_map_of_convolution(node)
    return graph.integer[node] or any(graph.reads_integers(reader) for reader in graph.readers(node))


def _on_matrix_inputs(graph: PlacementGraph, node: fx.Node) -> bool:
    return any(graph.kinds[reader] is Kind.MATRIX for reader in graph.readers(node))


def _after_relu(graph: PlacementGraph, node: fx.Node) -> bool:
    return graph.kinds[node] is Kind.RELU and not graph.only_given(node)


PLACEMENTS: dict[str, Callable[[PlacementGraph, fx.Node], bool]] = {
    "edges": _on_edges,
    "matrix-inputs": _on_matrix_inputs,
    "after-relu": _after_relu,
}


def plan_quantizers(graph_module: fx.GraphModule, scheme: Scheme) -> QuantizerPlan:
    """Returns the quantizers that `scheme` places in a graph of `dfq.graph.folding.canonical`.

    Raises:
        DfqError: There is no convolution or linear layer, or an override does not name such a layer.
    """
    graph = PlacementGraph(graph_module, scheme)
    bits = _layer_bits(graph, scheme)
    weights = {layer: scheme.weight_spec(weight_bits) for layer, (weight_bits, _) in bits.items()}
    is_placed = PLACEMENTS[scheme.placement]
    tensors = [
        _tensor_plan(graph, node, scheme, bits)
        for node, kind in graph.kinds.items()
        if _is_one_tensor(node) and kind is not Kind.PASS and is_placed(graph, node)
    ]
    return QuantizerPlan(weights, tensors, graph.float_layers)


def _is_one_tensor(node: fx.Node) -> bool:
    meta = node.meta.get("tensor_meta")
    dtype = getattr(meta, "dtype", None)  # A tuple of tensors has none.
    return node.op != "output" and dtype is not None and dtype.is_floating_point


def _layer_bits(graph: PlacementGraph, scheme: Scheme) -> dict[str, tuple[int, int]]:
    layers = graph.layers
    if not layers:
        raise DfqError("a network without convolution or linear layers", "at least one", "nothing to quantize here")
    unknown = sorted({*scheme.overrides, *scheme.weight_overrides, *scheme.activation_overrides} - set(layers))
    if unknown:
        raise DfqError(
            f"bits for {', '.join(unknown)}", f"names of layers, such as {', '.join(layers[:3])}", "see `dfq inspect`"
        )
    return {layer: scheme.layer_bits(layer, is_end=layer in graph.ends) for layer in layers}


def _tensor_plan(graph: PlacementGraph, node: fx.Node, scheme: Scheme, bits: dict[str, tuple[int, int]]) -> TensorPlan:
    readers = graph.readers(node)
    matrices = tuple(reader for reader in readers if graph.kinds[reader] is Kind.MATRIX)
    wanted = max((bits[str(reader.target)][1] for reader in matrices), default=scheme.edge_bits)
    if scheme.first_last_bits is not None and graph.is_first_output(node):
        wanted = max(wanted, *(bits[first][1] for first in graph.first_layers))
    spares_output = scheme.placement != "edges" or not graph.integer[node]
    others = [
        reader
        for reader in readers
        if reader not in matrices and (graph.reads_integers(reader) or (reader.op == "output" and not spares_output))
    ]
    is_narrow = scheme.placement == "edges" and wanted < scheme.edge_bits
    keeps_floats = is_narrow and scheme.wide_streams and graph.has_norms
    if keeps_floats and graph.integer[node]:
        others += [reader for reader in readers if graph.reads_floats(reader)]
    is_split = is_narrow and bool(others)
    spec = scheme.activation_spec(scheme.edge_bits if is_split else wanted)
    spared = tuple(user for user in node.users if spares_output and graph.leads_to_output_alone(user))
    if keeps_floats and not graph.integer[node]:
        spared += tuple(user for user in node.users if user not in spared and graph.leads_to_floats_alone(user))
    limit = RELU6_LIMIT / spec.q_max if is_relu6(node, graph.graph_module) else None
    shared = tuple(moved for moved in graph.moved(node) if _is_one_tensor(moved) and _read_as_integers(graph, moved))
    narrow = scheme.activation_spec(wanted) if is_split else None
    return TensorPlan(node, spec, limit, shared, matrices, narrow, spared)


def _read_as_integers(graph: PlacementGraph, moved: fx.Node) -> bool:
    return any(graph.reads_integers(reader) for reader in graph.readers(moved))
