"""Tells whether the in-place operators of a `torch.export` program can be read as plain ones."""

from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram

from dfq.graph.rewriting.aten_functions import FUNCTIONS, IDENTITIES
from dfq.graph.rewriting.aten_layers import LAYERS, POOLINGS, is_check

KNOWN = frozenset((*LAYERS, *FUNCTIONS, *IDENTITIES, *POOLINGS))


def is_functional(program: ExportedProgram) -> bool:
    """Returns whether every operator has a row in the tables and no in-place operator overwrites what is read later.

    Making a program functional takes torch longer than the export itself, and most networks do not need it. False is
    always safe.
    """
    nodes = [node for node in program.graph.nodes if not is_check(node)]
    calls = [node for node in nodes if node.op not in ("placeholder", "output")]
    if not all(node.op == "call_function" and (node.target in KNOWN or not _is_operator(node)) for node in calls):
        return False
    place = {node: index for index, node in enumerate(program.graph.nodes)}
    return all(
        _overwrites_nothing(node, place) for node in calls if _is_operator(node) and node.target._schema.is_mutable
    )


def _is_operator(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload)


def _overwrites_nothing(node: fx.Node, place: dict[fx.Node, int]) -> bool:
    """Returns whether all that shares memory with what `node` overwrites has memory of its own and is read before."""
    shared = [node.args[0]]
    while _passes_on(shared[-1]):
        shared.append(shared[-1].args[0])
    if not _is_fresh(shared[-1]):
        return False
    readers = {user for holder in shared for user in holder.users} - {node, *shared}
    return all(place[reader] < place[node] and _is_fresh(reader) for reader in readers)


def _passes_on(node: fx.Node) -> bool:
    """Returns whether a call gives back its input: it writes in place, or does nothing in evaluation mode."""
    return _is_operator(node) and (node.target._schema.is_mutable or node.target in IDENTITIES)


def _is_fresh(node: fx.Node) -> bool:
    """Returns whether the result of a call has memory of its own, and is not a view."""
    if not _is_operator(node) or node.target in IDENTITIES:
        return False
    return all(result.alias_info is None for result in node.target._schema.returns)
