"""Takes the softmax from the end of a network, whose logits say more than its probabilities, and puts it back."""

import torch
from torch import fx
from torch.nn import functional as F

SOFTMAXES = (torch.softmax, F.softmax, torch.ops.aten.softmax.int, torch.ops.aten._softmax.default)


def remove_final_softmax(network: fx.GraphModule) -> bool:
    """Lets a captured network give the logits in front of its softmax, in place; returns whether it had one.

    A network has one if its output (N, classes) is the result of a softmax over the classes.
    """
    output = next(node for node in network.graph.nodes if node.op == "output")
    last = output.args[0]
    if not isinstance(last, fx.Node) or last.target not in SOFTMAXES:
        return False
    shape = getattr(last.meta.get("tensor_meta"), "shape", ())
    axis = last.kwargs.get("dim", last.args[1] if len(last.args) > 1 else None)
    if len(shape) != 2 or axis not in (1, -1):
        return False
    output.args = (last.args[0],)
    if not last.users:
        network.graph.erase_node(last)
    network.recompile()
    return True


def add_final_softmax(network: fx.GraphModule) -> None:
    """Puts a softmax over the classes behind the logits (N, classes) of a network, in place."""
    output = next(node for node in network.graph.nodes if node.op == "output")
    with network.graph.inserting_before(output):
        output.args = (network.graph.call_function(torch.softmax, (output.args[0], 1)),)
    network.recompile()
