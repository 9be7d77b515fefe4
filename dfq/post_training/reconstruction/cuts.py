"""Decides where a student may be cut into pieces.

A cut is a place where everything that is still needed can be stored: tensors of floating-point values with a row for
each image. What the network returns, and nothing reads any more, is not needed. One tensor alone can always be carried
past a cut. Several can where no two of them recombine soon (`TensorPaths.recombine`), as skip tensors of a U-Net, the
levels of a feature pyramid and what several heads read do not. A residual sum, the branches of an inception module and
a dense block recombine soon, and so they stay whole. A layer that is called several times stays in one piece with all
its calls, except at places that a single tensor passes while the network has returned nothing yet.
"""

from itertools import combinations

import torch
from torch import fx

from dfq.graph.operators import is_quantizer
from dfq.post_training.reconstruction.tensor_paths import TensorPaths


def pieces_of(student: fx.GraphModule, recombined_within: int) -> list[list[fx.Node]]:
    """Returns the nodes behind the images in pieces; each of them, except perhaps the last, has a matrix layer.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        recombined_within: Largest number of layers on the way to a recombination that comes soon.
    """
    paths = TensorPaths(student)
    starts = _starts(paths, recombined_within)
    pieces = [paths.order[start:end] for start, end in zip(starts, [*starts[1:], len(paths.order)], strict=True)]
    _move_quantizers_to_readers(pieces)
    return pieces


def _starts(paths: TensorPaths, recombined_within: int) -> list[int]:
    """Returns the places at which pieces begin."""
    repeated = _repeated_layers(paths)
    starts: list[int] = [1]
    alive: list[fx.Node] = []
    for place in range(1, len(paths.order)):
        alive.append(paths.order[place - 1])
        alive = [node for node in alive if paths.last_use[paths.place[node]] >= place]
        begins = any(paths.is_layer[starts[-1] : place]) and _begins(paths, place, alive, starts[-1])
        is_split = any(first < place <= last for first, last in repeated) and not _is_single(paths, place, alive)
        if begins and not is_split and _may_cut(paths, place, alive, recombined_within):
            starts.append(place)
    return starts


def _begins(paths: TensorPaths, place: int, alive: list[fx.Node], start: int) -> bool:
    """Returns whether a node begins a piece, if there may be a cut in front of it.

    A layer does, and so does a residual block, whose input has several readers; what follows the end of a path; and a
    concatenation with a tensor of an earlier piece. A tensor is not cut off from its quantizer.
    """
    node, before = paths.order[place], paths.order[place - 1]
    if is_quantizer(node) and not is_quantizer(before):
        return False
    if paths.is_layer[place] or len(before.users) > 1 or before not in alive:
        return True
    return node.target is torch.cat and any(paths.place.get(source, start) < start for source in node.all_input_nodes)


def _may_cut(paths: TensorPaths, place: int, alive: list[fx.Node], recombined_within: int) -> bool:
    if place == paths.last_use[0] + 1 or not alive or not all(map(paths.can_be_stored, alive)):
        return False
    pairs = combinations(reversed(alive), 2)
    return not any(paths.recombine(*pair, place, recombined_within) for pair in pairs)


def _repeated_layers(paths: TensorPaths) -> list[tuple[int, int]]:
    """Returns the places of the first and the last call of each layer that is called several times."""
    calls: dict[str, list[int]] = {}
    for place, node in enumerate(paths.order):
        if paths.is_layer[place]:
            calls.setdefault(str(node.target), []).append(place)
    return [(places[0], places[-1]) for places in calls.values() if len(places) > 1]


def _is_single(paths: TensorPaths, place: int, alive: list[fx.Node]) -> bool:
    """Returns whether one tensor alone passes a place, and the network has returned nothing before it."""
    return alive == [paths.order[place - 1]] and not any(node in paths.returned for node in paths.order[: place - 1])


def _move_quantizers_to_readers(pieces: list[list[fx.Node]]) -> None:
    """Moves each quantizer of another piece's tensor to the first piece that reads what it gives."""
    piece_of = {node: number for number, piece in enumerate(pieces) for node in piece}
    for node, number in piece_of.items():
        readers = [piece_of[user] for user in node.users if user in piece_of]
        is_foreign = is_quantizer(node) and piece_of.get(node.all_input_nodes[0]) != number
        if is_foreign and readers and min(readers) > number:
            pieces[number].remove(node)
            pieces[min(readers)].insert(0, node)
