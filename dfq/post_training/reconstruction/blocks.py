"""Cuts a student and its teacher's trace into the same blocks, each of which is reconstructed as a whole."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from dfq.graph.layer_outputs import is_matrix_layer
from dfq.graph.operators import is_quantizer
from dfq.graph.shapes import EXAMPLES
from dfq.post_training.reconstruction.cuts import pieces_of
from dfq.post_training.reconstruction.handovers import Handover, handovers
from dfq.post_training.reconstruction.separable import join_separable
from dfq.post_training.reconstruction.settings import ReconstructionSettings

CONTAINERS = tuple(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ModuleDict"))


@dataclass(frozen=True)
class Block:
    """One piece of both networks, in most networks from one tensor to one tensor.

    Attributes:
        name: Name of the block's module, such as "layer1.0", or of its first layer.
        student: The piece of the student, from quantized inputs to quantized outputs; several outputs are a tuple. It
            shares the student's layers and quantizers.
        teacher: The same piece in full precision.
        layers: Names of the block's convolutions and linear layers.
        quantizers: Names of the activation quantizers in the block, as submodules of `student`. A quantizer that
            several blocks contain belongs to the first of them.
        inputs: Names of the student's nodes whose values the block reads: the images, or outputs of earlier blocks.
        outputs: Names of the student's nodes whose values the block gives.
    """

    name: str
    student: fx.GraphModule
    teacher: fx.GraphModule
    layers: tuple[str, ...]
    quantizers: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def cut_into_blocks(
    student: fx.GraphModule,
    reference: fx.GraphModule,
    *,
    max_layers: int = ReconstructionSettings.max_layers,
    recombined_within: int = ReconstructionSettings.recombined_within,
) -> list[Block]:
    """Returns the blocks in order: stem, each residual (or inverted residual, or encoder) block, head.

    A cut is a place where one tensor alone carries everything, or where several do that do not recombine soon
    (`dfq.post_training.reconstruction.cuts`). Pieces of one module stay together, and so do the layers of a depthwise
    separable block without a module (`dfq.post_training.reconstruction.separable`), so that a block's output is what
    the network adds up. A network without such places is one block. What does not depend on the images (parameters, the
    number of images) is made anew in each block that needs it.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        reference: `Teacher.traced`, whose nodes have the same names, but which has no quantizers.
        max_layers: Largest number of layers of a module that counts as one block.
        recombined_within: Largest number of layers on the way to a recombination that comes soon.
    """
    pieces = join_separable(_by_module(student, pieces_of(student, recombined_within), max_layers), student)
    passed = handovers(student, [nodes for _, nodes in pieces])
    return [_block(student, reference, *piece, each) for piece, each in zip(pieces, passed, strict=True)]


def _by_module(
    student: fx.GraphModule, pieces: list[list[fx.Node]], max_layers: int
) -> list[tuple[str, list[fx.Node]]]:
    """Joins neighbouring pieces of one module; returns each with that module's name."""
    layers = [str(n.target) for piece in pieces for n in piece if is_matrix_layer(n, student)]
    joined: list[tuple[str, list[fx.Node]]] = []
    for piece in pieces:
        first = next((n for n in piece if is_matrix_layer(n, student)), None)
        name = _module_of(first, layers, max_layers) if first is not None else ""
        if joined and name in ("", joined[-1][0]):
            joined[-1][1].extend(piece)
        else:
            joined.append((name, list(piece)))
    return joined


def _module_of(node: fx.Node, layers: list[str], max_layers: int) -> str:
    """Returns the outermost module around a layer that is no mere container and not too large, or else the layer."""
    for path, (_, kind) in node.meta.get("nn_module_stack", {}).items():
        inside = sum(layer.startswith(f"{path}.") for layer in layers)
        if path and kind not in CONTAINERS and 0 < inside <= max_layers:
            return path
    return str(node.target)


def _block(
    student: fx.GraphModule, reference: fx.GraphModule, name: str, nodes: list[fx.Node], passed: Handover
) -> Block:
    of_reference = {node.name: node for node in reference.graph.nodes}

    def counterparts(those: Iterable[fx.Node]) -> tuple[fx.Node, ...]:
        return tuple(of_reference[_unquantized(node).name] for node in those)

    own = counterparts(node for node in nodes if not is_quantizer(node))
    return Block(
        name,
        student=_subgraph(student, nodes, passed.inputs, passed.outputs),
        teacher=_subgraph(reference, own, counterparts(passed.inputs), counterparts(passed.outputs)),
        layers=tuple(dict.fromkeys(str(node.target) for node in nodes if is_matrix_layer(node, student))),
        quantizers=tuple(str(node.target) for node in nodes if is_quantizer(node)),
        inputs=tuple(node.name for node in passed.inputs),
        outputs=tuple(node.name for node in passed.outputs),
    )


def _unquantized(node: fx.Node) -> fx.Node:
    while is_quantizer(node):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node = source
    return node


def _subgraph(
    network: fx.GraphModule, nodes: Iterable[fx.Node], inputs: tuple[fx.Node, ...], outputs: tuple[fx.Node, ...]
) -> fx.GraphModule:
    graph = fx.Graph()
    entries = [graph.placeholder(f"block_input_{number}" if number else "block_input") for number in range(len(inputs))]
    copies = dict(zip(inputs, entries, strict=True))

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:
            assert node.op != "placeholder", f"a block needs '{node.name}', which it is not given"
            is_count = node.op == "call_method" and node.target == "size"
            copies[node] = _image_count(node, entries[0], graph) if is_count else graph.node_copy(node, copied)
        return copies[node]

    for node in nodes:
        copied(node)
    given = tuple(copies[node] for node in outputs)
    graph.output(given if len(given) > 1 else given[0])
    return fx.GraphModule(network, graph)


def _image_count(node: fx.Node, entry: fx.Node, graph: fx.Graph) -> fx.Node:
    """Returns a node with the number of rows of a tensor, which follows from the images that a block reads."""
    count = graph.call_method("size", (entry, 0))
    rows = node.args[0].meta["tensor_meta"].shape[0]  # type: ignore[union-attr]
    return count if rows == EXAMPLES else graph.call_function(operator.mul, (count, rows // EXAMPLES))
