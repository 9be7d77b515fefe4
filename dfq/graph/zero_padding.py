"""Says which operators pad or crop feature maps: any factor per channel, and any basis, passes them."""

from torch import fx
from torch.nn import functional as F

from dfq.graph.operators import Kind, kind_of

MAX_PADS = 4  # numbers that `F.pad` takes for the last two dimensions


def pads_maps(node: fx.Node, network: fx.GraphModule) -> bool:
    """Whether it puts zeros or the map's own values around maps (N, C, H, W), or cuts their borders off.

    Networks with SAME padding do so in front of most of their layers.
    """
    moves = kind_of(node, network) is Kind.PASS  # not where the padding is a constant other than zero
    return moves and node.target is F.pad and len(node.meta["tensor_meta"].shape) == 4 and _only_last_two(node)


def _only_last_two(node: fx.Node) -> bool:
    pads = node.kwargs.get("pad", node.args[1] if len(node.args) > 1 else None)
    return isinstance(pads, (tuple, list)) and len(pads) <= MAX_PADS
