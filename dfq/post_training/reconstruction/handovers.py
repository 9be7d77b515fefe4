"""Decides which tensors the pieces of a student hand over to each other, and to whoever reads what it returns."""

from dataclasses import dataclass

from torch import fx

from dfq.graph.operators import is_quantizer
from dfq.post_training.reconstruction.tensor_paths import TensorPaths


@dataclass(frozen=True)
class Handover:
    """What one piece takes and gives.

    Attributes:
        inputs: The tensors of earlier pieces (or the images) that the piece reads, in the order of the graph.
        outputs: The tensors of the piece that later pieces read or that the network returns, in the same order. Whole
            numbers and truth values, which cannot be fitted, are left out; where there is nothing else, the last
            tensor that can be fitted takes their place.
    """

    inputs: tuple[fx.Node, ...]
    outputs: tuple[fx.Node, ...]


def handovers(student: fx.GraphModule, pieces: list[list[fx.Node]]) -> list[Handover]:
    """Returns what each piece takes and gives.

    Where a tensor is handed over anyway, its values on a further grid are not: each piece that needs them puts them on
    that grid itself. The same holds for a grid on which a piece puts what it takes.
    """
    paths = TensorPaths(student)
    piece_of = {node: number for number, piece in enumerate(pieces) for node in piece}
    piece_of[paths.order[0]] = -1
    taken = [_taken(piece, number, piece_of) for number, piece in enumerate(pieces)]
    passed = set[fx.Node]().union(*taken, paths.returned)
    taken = [{_before_last_grid(node, passed, piece_of) for node in each} for each in taken]
    given = set[fx.Node]().union(*taken, filter(paths.can_be_stored, paths.returned))
    return [
        Handover(tuple(sorted(each, key=paths.place.__getitem__)), _outputs(piece, given, paths))
        for each, piece in zip(taken, pieces, strict=True)
    ]


def _taken(piece: list[fx.Node], number: int, piece_of: dict[fx.Node, int]) -> set[fx.Node]:
    sources = {source for node in piece for source in node.all_input_nodes}
    return {source for source in sources if piece_of.get(source, number) < number}


def _before_last_grid(node: fx.Node, passed: set[fx.Node], piece_of: dict[fx.Node, int]) -> fx.Node:
    if not is_quantizer(node):
        return node
    source = node.all_input_nodes[0]
    is_further = is_quantizer(source) or piece_of[source] < piece_of[node]
    return source if is_further and source in passed else node


def _outputs(piece: list[fx.Node], given: set[fx.Node], paths: TensorPaths) -> tuple[fx.Node, ...]:
    fitted = [node for node in piece if node in given]
    return tuple(fitted or [node for node in piece if paths.can_be_stored(node)][-1:])
