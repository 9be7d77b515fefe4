"""Counts bit operations: the multiply–accumulates of a network, weighed with the widths of what is multiplied."""

from dataclasses import dataclass

from torch import fx

from dfq.graph.operators import Kind, kind_of
from dfq.quantizers.scheme import Scheme
from dfq.student.coverage import call_macs
from dfq.student.placement import QuantizerPlan, plan_quantizers

IMAGE_BITS = 8  # pixels, where the scheme leaves the image as it is
FLOAT_BITS = 32


@dataclass(frozen=True)
class LayerCall:
    """One call of a matrix layer.

    Attributes:
        layer: Name of the layer.
        macs: Number of multiply–accumulates for one image.
        tensor: Name of the node whose grid the call reads; None: it reads no grid.
        bits: Bits of what it reads.
    """

    layer: str
    macs: int
    tensor: str | None
    bits: int


def layer_calls(network: fx.GraphModule, plan: QuantizerPlan) -> list[LayerCall]:
    """Returns all calls of matrix layers, in the order of the graph.

    Args:
        network: A graph of `dfq.graph.folding.canonical`.
        plan: Its quantizers.
    """
    read = {reader: tensor for tensor in plan.tensors for reader in tensor.matrix_readers}
    found = []
    for node in network.graph.nodes:
        if node.op != "call_module" or node.target not in plan.weights:
            continue
        macs = call_macs(node, network.get_submodule(node.target).weight)  # type: ignore[arg-type]
        if node in read:
            found.append(LayerCall(node.target, macs, read[node].node.name, read[node].matrix_spec.bits))
        else:
            found.append(LayerCall(node.target, macs, None, IMAGE_BITS if _reads_image(node, network) else FLOAT_BITS))
    return found


def bit_operations(network: fx.GraphModule, scheme: Scheme) -> int:
    """Returns the number of bit operations of a network under a scheme, for one image.

    It is the sum over all calls of matrix layers of multiply–accumulates × bits of the weight × bits of the tensor that
    the layer reads, as in Bayesian Bits (van Baalen et al., NeurIPS 2020). The measure comes from UNIQ
    (Baskin et al., ACM TOCS 2021), which adds the bits of the accumulator. A tensor without a grid counts as 8 bits if
    it is the image and as 32 otherwise, also where a layer computes in floating point by choice. Products of two
    activations, as in attention, and operators without a grid for their weight are not counted.

    Args:
        network: A graph of `dfq.graph.folding.canonical`.
        scheme: Its scheme.

    Raises:
        DfqError: The network has nothing to quantize.
    """
    plan = plan_quantizers(network, scheme)
    return sum(call.macs * plan.weights[call.layer].bits * call.bits for call in layer_calls(network, plan))


def _reads_image(node: fx.Node, network: fx.GraphModule) -> bool:
    """Returns whether a call reads the image, or values that were only moved."""
    source = node.args[0]
    while isinstance(source, fx.Node) and kind_of(source, network) is Kind.PASS:
        source = source.all_input_nodes[0]
    return isinstance(source, fx.Node) and source.op == "placeholder"
