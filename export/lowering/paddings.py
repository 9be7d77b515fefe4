"""Padding of convolutions: zeros become part of the convolution, and any other kind stands in front of it."""

from typing import Any

from torch import fx, nn
from torch.nn import functional as F

from dfq.export.lowering.graph_edits import first, module_of
from dfq.graph.operators import pads_with_zero
from dfq.quantizers.fake_quantize import SharedQuantize
from dfq.quantizers.quantized_layers import QuantConv2d


def _zero_padding(node: fx.Node) -> tuple[int, ...] | None:
    """Returns left, right, top and bottom where `node` pads images with zeros, else None."""
    if node.target is F.pad and pads_with_zero(node):
        pad: Any = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        return tuple(pad) if len(pad) == 4 and min(pad) >= 0 else None
    return None


def take_out_paddings(copied: fx.GraphModule) -> dict[str, tuple[int, ...]]:
    """Removes zero padding in front of convolutions; returns left, right, top and bottom by name of their node."""
    taken = {}
    for node in list(copied.graph.nodes):
        layer = module_of(node, copied)
        if not isinstance(layer, QuantConv2d) or layer.padding_mode != "zeros":
            continue
        shared = first(node)
        pad = first(shared) if isinstance(module_of(shared, copied), SharedQuantize) else shared
        padding = _zero_padding(pad)
        if padding is not None:
            node.replace_input_with(shared, first(pad))
            taken[node.name] = padding
    return taken


def pad_with_own_values(copied: fx.GraphModule, node: fx.Node, layer: nn.Conv2d) -> None:
    """Writes reflecting, replicating or circular padding of a layer in front of it."""
    if layer.padding_mode == "zeros":
        return
    border = list(layer._reversed_padding_repeated_twice)  # what torch itself pads with in these modes
    with copied.graph.inserting_before(node):
        padded = copied.graph.call_function(F.pad, (node.args[0], border), {"mode": layer.padding_mode})
    node.replace_input_with(first(node), padded)


def own_padding(layer: nn.Conv2d) -> tuple[int, ...]:
    """Returns how many zeros the layer itself adds at the left, right, top and bottom."""
    if layer.padding_mode != "zeros":
        return (0, 0, 0, 0)
    if isinstance(layer.padding, str):  # torch resolves "same" and "valid" here
        return tuple(layer._reversed_padding_repeated_twice)
    top, left = layer.padding
    return (left, left, top, top)
