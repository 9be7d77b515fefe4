"""Reference: why a layer, or a node of the file, computes in floating point."""

from dfq.export.engines import kernel_report as nodes
from dfq.results.settings import VerdictSettings
from dfq.results.verdict import SHORT, WAYS_OUT
from dfq.student import coverage as layers
from dfq.student import placement_graph as placed
from page_makers import markdown as md

INTRODUCTION = f"""# Reasons for floating point

Two lists say what computes in floating point, and why. The first one is about the layers of the network: `dfq
inspect`, the first lines of every answer, and `coverage` in [`report.json`](report-json.md#coverage) give it. The
second one is about the nodes of the ONNX file: `dfq quantize`, `dfq validate` and `nodes` in
[`report.json`](report-json.md#nodes) give it.

Where less than {100 * VerdictSettings().min_share:.0f} % of the multiply–accumulates run on integers, every answer
begins with the reasons, and `--strict` makes that an error before any work is done.
"""
# Reason → what is behind it. A reason that is missing here stops the build.
LAYERS = {
    placed.ONE_POSITION: "Squeeze-and-excitation pools a map to one position and computes a gate from it. Behind "
    "activations that have no integer kernel, that position is in floating point already, and a convolution of one "
    "position is too little work to pay for the conversions. Its weight has few bits all the same.",
    placed.FEW_PRODUCTS: "In networks of SiLU, HardSwish or GELU, integers save time only where an output is the sum "
    "of many products; a depthwise convolution sums a few. Its weight has few bits all the same. The limit is "
    "`min_products` in [the targets](targets.md), and is measured in [the results](../results.md#speed-and-size).",
    layers.NO_KERNEL: "The operator has weights, and the runtime multiplies it in floating point alone: transposed "
    "convolutions, recurrent layers.",
    layers.COMPUTED_WEIGHT: "There is no weight to round before the image is known: dynamic convolutions.",
    layers.MATRIX_PER_POSITION: "A linear layer has one matrix for all positions; here each position has its own.",
    layers.NOT_RECOGNISED: "A weight is multiplied by operators that dfq does not know as a layer.",
    layers.NOT_QUANTIZED: "The protocols of papers quantize less than a runtime needs: a layer whose input stays in "
    "floating point is multiplied in floating point.",
    layers.NOT_WRITTEN: "An integer convolution must write integers. A protocol that leaves its output in floating "
    "point keeps it from running on integers.",
}
NODES = {
    nodes.NO_KERNEL: "Normalisations, softmax of attention and sigmoid-gated activations are of this kind. They hold "
    "next to no weights.",
    nodes.NOT_QUANTIZED_OUTPUT: "The file does what the scheme says. `--scheme deploy` quantizes everything that an "
    "integer kernel needs.",
    nodes.NOT_QUANTIZED_INPUT: "Either the scheme leaves that tensor in floating point, or dfq does, because "
    "converting it would cost more than it saves.",
    nodes.NOT_ABSORBED: "An activation in front of a grid costs nothing where the grid clips at the same value. "
    "Where it does not, the activation is computed by itself.",
    nodes.NOT_FUSED: "The runtime found QuantizeLinear and DequantizeLinear around the operator, and left them there. "
    "If a file of yours has such nodes, please [report it](../how-to/report-a-bug.md).",
}


def page() -> str:
    ways_out = [
        (reason, md.code(SHORT[reason]), LAYERS[reason], md.prose(md.sentence(WAYS_OUT[reason]))) for reason in WAYS_OUT
    ]
    missing = set(_reasons(nodes)) - set(NODES)
    assert not missing, f"reasons without an explanation: {missing}"
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            "## Layers",
            "*Short* is the word in the table of `dfq inspect`.",
            md.table(("reason", "short", "what is behind it", "what would change it"), ways_out),
            "## Nodes of the file",
            md.table(("reason", "what is behind it"), NODES.items()),
            "Nodes that only move values, such as Reshape and Transpose, are not listed.",
        ]
    )


def _reasons(module: object) -> list[str]:
    """The sentences among the constants of a module."""
    found = {name: text for name, text in vars(module).items() if name.isupper() and isinstance(text, str)}
    return [text for text in found.values() if " " in text]
