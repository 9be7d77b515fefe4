"""Cuts a student and its teacher's trace into the same blocks, each of which is reconstructed as a whole."""

import operator
from dataclasses import dataclass

from torch import fx

from dfq.graph.operators import is_quantizer, is_tensor
from dfq.graph.shapes import EXAMPLES
from dfq.post_training.reconstruction.settings import ReconstructionSettings
from dfq.quantizers.quantized_layers import MATRIX_LAYERS

CONTAINERS = tuple(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ModuleDict"))


@dataclass(frozen=True)
class Block:
    """One piece of both networks, from one tensor to one tensor.

    Attributes:
        name: Name of the block's module, such as "layer1.0", or of its first layer.
        student: The piece of the student, from quantized input to quantized output. It shares the student's layers and
            quantizers.
        teacher: The same piece in full precision.
        layers: Names of the block's convolutions and linear layers.
        quantizers: Names of the activation quantizers in the block, as submodules of `student`.
    """

    name: str
    student: fx.GraphModule
    teacher: fx.GraphModule
    layers: tuple[str, ...]
    quantizers: tuple[str, ...]


def cut_into_blocks(
    student: fx.GraphModule, reference: fx.GraphModule, *, max_layers: int = ReconstructionSettings.max_layers
) -> list[Block]:
    """Returns the blocks in order: stem, each residual (or inverted residual, or encoder) block, head.

    A cut is a place where one tensor alone, with a row for each image, carries everything. Pieces of one module stay
    together, so that a block's output is what the network adds up. A network without such places is one block. What
    does not depend on the images (parameters, the number of images) is made anew in each block that needs it.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        reference: `Teacher.traced`, whose nodes have the same names, but which has no quantizers.
        max_layers: Largest number of layers of a module that counts as one block.
    """
    pieces = _by_module(student, _pieces(student), max_layers)
    blocks, entry = [], _placeholder(student)
    for name, nodes in pieces:
        blocks.append(_block(name, student, reference, entry, nodes))
        entry = nodes[-1]
    return blocks


def _placeholder(network: fx.GraphModule) -> fx.Node:
    return next(node for node in network.graph.nodes if node.op == "placeholder")


def _pieces(student: fx.GraphModule) -> list[list[fx.Node]]:
    """Returns the nodes behind the input, split wherever only one tensor is still needed.

    Each piece has a matrix layer.
    """
    nodes = [n for n in student.graph.nodes if n.op in ("call_module", "call_function") and is_tensor(n)]
    place = {node: index for index, node in enumerate(nodes)}
    last_use = {n: max((place.get(user, len(nodes)) for user in _tensor_users(n)), default=-1) for n in nodes}
    input_end = max(place[user] for user in _tensor_users(_placeholder(student)))
    pieces: list[list[fx.Node]] = [[]]
    alive: set[fx.Node] = set()
    for index, node in enumerate(nodes):
        before = nodes[index - 1]
        may_cut = index > input_end + 1 and alive == {before} and _has_a_row_for_each_image(before)
        # A layer begins a piece, and so does a residual block, whose input has several readers.
        begins = _is_layer(node, student) or len(before.users) > 1
        if may_cut and begins and any(_is_layer(n, student) for n in pieces[-1]):
            pieces.append([])
        pieces[-1].append(node)
        alive = {n for n in (*alive, node) if last_use[n] > index}
    return pieces


def _tensor_users(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if is_tensor(user) or user.op == "output"]


def _has_a_row_for_each_image(node: fx.Node) -> bool:
    shape = getattr(node.meta["tensor_meta"], "shape", ())  # A tuple of tensors has no shape.
    return bool(shape) and shape[0] == EXAMPLES


def _by_module(
    student: fx.GraphModule, pieces: list[list[fx.Node]], max_layers: int
) -> list[tuple[str, list[fx.Node]]]:
    """Joins neighbouring pieces of one module; returns each with that module's name."""
    layers = [str(n.target) for piece in pieces for n in piece if _is_layer(n, student)]
    joined: list[tuple[str, list[fx.Node]]] = []
    for piece in pieces:
        first = next((n for n in piece if _is_layer(n, student)), None)
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


def _is_layer(node: fx.Node, network: fx.GraphModule) -> bool:
    return node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), MATRIX_LAYERS)


def _block(
    name: str, student: fx.GraphModule, reference: fx.GraphModule, entry: fx.Node, nodes: list[fx.Node]
) -> Block:
    of_reference = {node.name: node for node in reference.graph.nodes}
    own = [node for node in nodes if not is_quantizer(node)]
    layers = tuple(str(node.target) for node in nodes if _is_layer(node, student))
    quantizers = tuple(str(node.target) for node in nodes if is_quantizer(node))
    reference_entry = of_reference[_unquantized(entry).name]
    return Block(
        name,
        _subgraph(student, entry, nodes),
        _subgraph(reference, reference_entry, [of_reference[node.name] for node in own]),
        layers,
        quantizers,
    )


def _unquantized(node: fx.Node) -> fx.Node:
    while is_quantizer(node):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        node = source
    return node


def _subgraph(network: fx.GraphModule, entry: fx.Node, nodes: list[fx.Node]) -> fx.GraphModule:
    graph = fx.Graph()
    copies = {entry: graph.placeholder("block_input")}

    def copied(node: fx.Node) -> fx.Node:
        if node not in copies:
            is_count = node.op == "call_method" and node.target == "size"
            copies[node] = _image_count(node, copies[entry], graph) if is_count else graph.node_copy(node, copied)
        return copies[node]

    for node in nodes:
        copied(node)
    graph.output(copies[nodes[-1]])
    return fx.GraphModule(network, graph)


def _image_count(node: fx.Node, entry: fx.Node, graph: fx.Graph) -> fx.Node:
    """Returns a node with the number of rows of a tensor, which follows from the images that a block reads."""
    count = graph.call_method("size", (entry, 0))
    rows = node.args[0].meta["tensor_meta"].shape[0]  # type: ignore[union-attr]
    return count if rows == EXAMPLES else graph.call_function(operator.mul, (count, rows // EXAMPLES))
