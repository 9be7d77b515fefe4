"""`Probe` runs a network of which one weight, or one tensor that matrix layers read, is rounded at a time."""

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.outputs import Outputs
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.quantized_layers import quantize_layer
from dfq.student.placement import QuantizerPlan, TensorPlan
from dfq.system.progress import Task
from dfq.teacher import Teacher
from dfq.training.output_losses import output_divergence
from dfq.training.settings import TrainSettings

READ = "read_tensors"  # name of the module that holds the quantizers of what matrix layers read
Grids = Mapping["Place", Mapping[int, FakeQuantize]]


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


class Probe(fx.Interpreter):
    """Runs a network once per batch, and from each place on once more with each of its grids.

    What precedes the place is thus computed once, which halves the work.

    Args:
        teacher: The network; it says how answers are compared.
        network: The copy of its graph that the places are in.
        grids: Place → bits → the fitted grid.
        task: What is told of each probe.

    Attributes:
        sums: Place → bits → divergence of the answers, summed over images, in nats.
    """

    def __init__(self, teacher: Teacher, network: fx.GraphModule, grids: Grids, task: Task):
        super().__init__(network)
        self.teacher, self.grids, self.task = teacher, grids, task
        self.sums = {place: dict.fromkeys(widths, 0.0) for place, widths in grids.items()}
        self.nodes: list[fx.Node] = list(network.graph.nodes)
        self.starts = {place.start: place for place in grids}

    def compare(self, images: Tensor) -> None:
        """Adds the divergences on `images` (N, C, H, W) to `sums`.

        Raises:
            DfqError: Answers are not finite.
        """
        self.found: dict[tuple[Place, int], Outputs] = {}
        expected = self.run(images)
        for (place, bits), outputs in self.found.items():
            divergence = output_divergence(self.teacher, outputs, expected, TrainSettings.selection_temperature)
            if not torch.isfinite(divergence):
                found = f"answers that are not finite with {place.name} at {bits} bits"
                raise DfqError(found, "finite logits", exit_code=1)
            self.sums[place][bits] += max(float(divergence), 0.0) * len(images)  # rounding can make a zero negative

    def run_node(self, n: fx.Node) -> Any:
        if n in self.starts:
            place = self.starts[n]
            for bits, quantizer in self.grids[place].items():
                with place.rounding(quantizer):
                    self.found[place, bits] = self._rest(n)
                self.task.advance()
        return super().run_node(n)

    def _rest(self, start: fx.Node) -> Outputs:
        """Returns the outputs from copies of the values that are alive now: layers may work in place."""
        alive: dict[fx.Node, Any] = self.env
        output: Any = None
        self.env = dict(zip(alive, copy.deepcopy(list(alive.values())), strict=True))
        for node in self.nodes[self.nodes.index(start) :]:
            output = self.env[node] = super().run_node(node)
            for spent in self.user_to_last_uses.get(node, ()):
                del self.env[spent]
        self.env = alive
        return output
