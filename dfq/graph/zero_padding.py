"""Finds operators that pad or crop feature maps: a factor per channel, or another basis, passes through them."""

from torch import fx
from torch.nn import functional as F

from dfq.graph.operators import Kind, kind_of

MAX_PADS = 4  # how many numbers `F.pad` takes for the last two dimensions


def pads_maps(node: fx.Node, network: fx.GraphModule) -> bool:
    """Returns whether a node puts zeros or the maps' own values around maps (N, C, H, W), or crops them.

    Networks with SAME padding do so in front of most of their layers.
    """
    moves = kind_of(node, network) is Kind.PASS  # `kind_of` excludes constants other than zero
    return moves and node.target is F.pad and len(node.meta["tensor_meta"].shape) == 4 and _only_last_two(node)


def _only_last_two(node: fx.Node) -> bool:
    pads = node.kwargs.get("pad", node.args[1] if len(node.args) > 1 else None)
    return isinstance(pads, (tuple, list)) and len(pads) <= MAX_PADS
