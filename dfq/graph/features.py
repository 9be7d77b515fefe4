"""Features of a traced network beside its outputs, for relational and feature-matching losses."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, fx

from dfq.graph.operators import Kind, is_quantizer, is_tensor, kind_of
from dfq.graph.outputs import Outputs, channel_axis, output_nodes
from dfq.graph.shapes import EXAMPLES
from dfq.quantizers.quantized_layers import MATRIX_LAYERS


@dataclass(frozen=True)
class Features:
    """Outputs and features of one forward pass.

    Attributes:
        outputs: What the network gives.
        stages: Last feature map (N, C, H, W) of each resolution, finest first; empty where there is none.
        penultimate: Input (N, D) of the last layer that reads a row for each image: flattened, or its mean over all
            positions where the network gives something else than one tensor (N, C).
        carrier: The same tensor in the shape in which the network has it, through which gradients reach it.
    """

    outputs: Outputs
    stages: tuple[Tensor, ...]
    penultimate: Tensor
    carrier: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """The logits (N, classes) of a classifier."""
        assert isinstance(self.outputs, Tensor)
        return self.outputs

    def pooled_stages(self) -> list[Tensor]:
        """Returns the mean of each stage over its pixels, (N, C) in float32."""
        return [stage.float().mean((2, 3)) for stage in self.stages]

    def stages_alike(self, other: "Features") -> list[tuple[Tensor, Tensor]]:
        """Returns the pairs of own and other feature maps that have the same shape, finest first.

        For a teacher and its quantized copy, these are all of them. Two architectures share those that happen to have
        the same width at the same resolution, which may be none.
        """
        return [pair for pair in self.stages_at_one_resolution(other) if pair[0].shape[1] == pair[1].shape[1]]

    def stages_at_one_resolution(self, other: "Features") -> list[tuple[Tensor, Tensor]]:
        """Returns the pairs of own and other feature maps that have the same resolution, finest first."""
        others = {stage.shape[2:]: stage for stage in other.stages}  # a resolution occurs once
        return [(stage, others[stage.shape[2:]]) for stage in self.stages if stage.shape[2:] in others]


class FeatureExtractor:
    """Reads `Features` from a graph of layers (`Teacher.model`, or a student of `dfq.student.convert.make_student`).

    It shares the network's modules, so that its features change as the student learns. Corresponding tensors of a
    teacher's trace and of its student have the same place in `stages`; those of the student are read behind their
    quantizer.
    """

    def __init__(self, network: fx.GraphModule):
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        outputs = graph.graph_copy(network.graph, copies)
        given = output_nodes(network)
        stages = _stage_ends(network)
        penultimate = _last_layer_input(network) or (stages[-1] if stages else given[0])
        self._is_pooled = len(given) > 1 or len(given[0].meta["tensor_meta"].shape) != 2
        graph.output((outputs, tuple(copies[_quantized(node, network)] for node in stages), copies[penultimate]))
        self._network = fx.GraphModule(network, graph)

    def __call__(self, images: Tensor) -> Features:
        outputs, stages, carrier = self._network(images)
        penultimate = carrier
        if self._is_pooled and penultimate.dim() > 2:
            axis = channel_axis(penultimate.shape)
            penultimate = penultimate.movedim(axis, 1).flatten(2).mean(2)
        return Features(outputs, stages, penultimate.flatten(1), carrier)


_extractors: WeakKeyDictionary[fx.GraphModule, FeatureExtractor] = WeakKeyDictionary()


def features_of(network: fx.GraphModule) -> FeatureExtractor:
    """Returns the network's extractor, which is made once."""
    if network not in _extractors:
        _extractors[network] = FeatureExtractor(network)
    return _extractors[network]


def _stage_ends(network: fx.GraphModule) -> list[fx.Node]:
    """Returns the last tensor of each resolution above one pixel, except quantizers and moved copies."""
    ends: dict[tuple[int, int], fx.Node] = {}
    for node in network.graph.nodes:
        if node.op in ("placeholder", "output") or not is_tensor(node) or is_quantizer(node):
            continue
        shape = getattr(node.meta["tensor_meta"], "shape", ())
        if len(shape) == 4 and min(shape[2:]) > 1 and kind_of(node, network) is not Kind.PASS:
            ends[tuple(shape[2:])] = node
    return list(ends.values())


def _last_layer_input(network: fx.GraphModule) -> fx.Node | None:
    """Returns what the last layer reads that has a row for each image; None where no layer reads such a tensor."""
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    layers = [call for call in calls if isinstance(network.get_submodule(str(call.target)), MATRIX_LAYERS)]
    sources = [layer.all_input_nodes[0] for layer in reversed(layers)]
    return next((source for source in sources if source.meta["tensor_meta"].shape[0] == EXAMPLES), None)


def _quantized(node: fx.Node, network: fx.GraphModule) -> fx.Node:
    return next((user for user in node.users if is_quantizer(user)), node)
