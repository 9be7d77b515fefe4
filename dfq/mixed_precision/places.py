"""`Place`: where a quantizer stands in a network's graph, of a weight or of a tensor that matrix layers read."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import fx, nn

from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.quantized_layers import quantize_layer
from dfq.student.placement import QuantizerPlan, TensorPlan

READ = "read_tensors"  # name of the module that holds the quantizers of what matrix layers read


@dataclass(frozen=True)
class Place:
    """A place where a quantizer stands.

    Attributes:
        name: Name of the layer, or of the tensor in the graph.
        start: The first node that what is rounded here changes.
        holder: The module that holds the quantizer.
        attribute: The name under which the module holds it.
    """

    name: str
    start: fx.Node
    holder: nn.Module
    attribute: str

    @property
    def quantizer(self) -> FakeQuantize:
        return getattr(self.holder, self.attribute)

    @contextmanager
    def rounding(self, quantizer: FakeQuantize) -> Iterator[None]:
        """Rounds here with another quantizer within the context."""
        before = self.quantizer
        setattr(self.holder, self.attribute, quantizer)
        try:
            yield
        finally:
            setattr(self.holder, self.attribute, before)


def weight_places(network: fx.GraphModule, plan: QuantizerPlan) -> dict[str, Place]:
    """Gives every matrix layer of a network a quantizer for its weight, which is off; returns the places by layer.

    Args:
        network: A copy of a teacher's graph, which is changed.
        plan: The grids of its quantizers.
    """
    calls = {str(node.target): node for node in reversed(network.graph.nodes) if node.op == "call_module"}
    layers = {name: quantize_layer(network.get_submodule(name), spec) for name, spec in plan.weights.items()}
    return _off({name: Place(name, calls[name], layer, "weight_quantizer") for name, layer in layers.items()})


def tensor_places(network: fx.GraphModule, plan: QuantizerPlan, names: Collection[str]) -> dict[str, Place]:
    """Gives tensors that matrix layers read a quantizer, which is off; returns the places by the name of the node.

    In a student, other operators may read the grid of matrix layers, too. Here, matrix layers alone do.

    Args:
        network: A copy of a teacher's graph, which is changed.
        plan: The grids of its quantizers.
        names: Names of the nodes that the tensors come from.
    """
    holder, order = nn.ModuleDict(), list(network.graph.nodes)
    network.add_submodule(READ, holder)
    chosen = {tensor.node.name: tensor for tensor in plan.tensors if tensor.node.name in names}
    return _off({name: _read_place(network, holder, tensor, order) for name, tensor in chosen.items()})


def _read_place(network: fx.GraphModule, holder: nn.ModuleDict, tensor: TensorPlan, order: list[fx.Node]) -> Place:
    calls, attribute = [], f"of_{tensor.node.name}"  # A node may be named like a method of the holder.
    holder[attribute] = FakeQuantize(tensor.matrix_spec)
    for reader in sorted(tensor.matrix_readers, key=order.index):
        source = reader.args[0]
        assert isinstance(source, fx.Node)
        with network.graph.inserting_before(reader):
            calls.append(network.graph.call_module(f"{READ}.{attribute}", (source,)))
        reader.replace_input_with(source, calls[-1])
    return Place(tensor.node.name, calls[0], holder, attribute)


def _off(places: dict[str, Place]) -> dict[str, Place]:
    for place in places.values():
        place.quantizer.mode = "off"
    return places
