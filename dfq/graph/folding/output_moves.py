"""Gives each output its own copy of the operators that only move its values, where others read the moved values, too.

What a network gives may then stay as it is, while the other readers see the same values on a grid.
"""

from torch import fx

from dfq.graph.operators import FUNCTIONS, Kind
from dfq.graph.outputs import output_nodes


def copy_output_moves(network: fx.GraphModule) -> None:
    """Copies, in place, the moves in front of outputs whose values, moved or not, have other readers."""
    output = next(node for node in network.graph.nodes if node.op == "output")
    given = output_nodes(network)
    own = [_own(network, node, output) for node in given]
    if own != list(given):
        output.args = (tuple(own) if isinstance(output.args[0], (tuple, list)) else own[0],)


def _own(network: fx.GraphModule, end: fx.Node, output: fx.Node) -> fx.Node:
    """Returns a copy of the moves that end in `end`, or `end` itself where nothing else reads what they move."""
    moves = [end]
    while _moves(moves[-1]):
        moves.append(moves[-1].all_input_nodes[0])
    *moves, source = moves
    if all(len(node.users) == 1 for node in (*moves, source)) or not moves:
        return end
    copies: dict[fx.Node, fx.Node] = {source: source}
    for node in reversed(moves):
        with network.graph.inserting_before(output):
            copies[node] = network.graph.node_copy(node, lambda argument: copies.get(argument, argument))
    return copies[end]


def _moves(node: fx.Node) -> bool:
    return node.op == "call_function" and FUNCTIONS.get(node.target) is Kind.PASS and bool(node.all_input_nodes)
