"""Measures how much of a network runs on integers, by multiply–accumulates and by weights, and why not the rest."""

from collections import Counter
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.graph.channel_relu6 import ChannelReLU6
from dfq.graph.operators import is_quantizer, is_tensor
from dfq.graph.rewriting.aten_layers import ATEN, FLOAT_LAYERS
from dfq.graph.shapes import EXAMPLES
from dfq.quantizers.quantized_attention import QuantizedAttention, QuantizedAverage
from dfq.quantizers.quantized_layers import QUANTIZED_LAYERS
from dfq.student.set_ranges import input_quantizer

# Reasons why a layer computes in floating point; `report.json` quotes them.
NOT_RECOGNISED = "not recognised as a layer"
NO_KERNEL = "no integer kernel for this kind of layer"
COMPUTED_WEIGHT = "its weight is computed from the images"
MATRIX_PER_POSITION = "its weight is a matrix for each position, such as relative positions"
NOT_QUANTIZED = "the scheme does not quantize what it reads"
NOT_WRITTEN = "the scheme does not quantize what it writes, as integer convolutions must"
# Operators of ATen.
ATTENTION = (ATEN.scaled_dot_product_attention.default,)
PRODUCTS = (ATEN.bmm.default, ATEN.baddbmm.default, ATEN.matmul.default, ATEN.mm.default, ATEN.addmm.default)
WITH_SUMMAND = (ATEN.baddbmm.default, ATEN.addmm.default)
RECURRENT = (ATEN.lstm.input, ATEN.gru.input)
EINSUM = ATEN.einsum.default
# These are left over where the weight is no constant.
CONVOLUTIONS = (ATEN.conv2d.default, ATEN.conv2d.padding, ATEN.linear.default)


@dataclass(frozen=True)
class LayerCoverage:
    """One layer.

    Attributes:
        name: Name of the layer in the network.
        type: Kind of layer, such as Conv2d, or the name of the operator.
        macs: Number of multiply–accumulates for one image.
        weights: Number of weights.
        reason: Why it computes in floating point; None: it runs on integers.
    """

    name: str
    type: str
    macs: int
    weights: int
    reason: str | None


@dataclass(frozen=True)
class Coverage:
    """The layers with weights of a network.

    Attributes:
        layers: The layers in the order of the graph. A layer that is called twice is one entry with all its work.
        attention_macs: Number of multiply–accumulates of products of two activations, for one image, that run in
            floating point. They have no weights and count in neither share.
        integer_attention_macs: Number of those that run on integers (`dfq.student.attention_products`).
    """

    layers: tuple[LayerCoverage, ...]
    attention_macs: int = 0
    integer_attention_macs: int = 0

    @property
    def share_of_macs(self) -> float:
        """The part of the multiply–accumulates whose layer reads and holds integers, in [0, 1]."""
        return self._share("macs")

    @property
    def share_of_weights(self) -> float:
        """The part of the weights that are held as integers and multiplied with integers, in [0, 1]."""
        return self._share("weights")

    def _share(self, what: str) -> float:
        total = sum(getattr(layer, what) for layer in self.layers)
        return sum(getattr(layer, what) for layer in self.layers if layer.reason is None) / max(total, 1)

    @property
    def not_recognised(self) -> list[str]:
        """Names of layers with weights that no table knows."""
        return [layer.name for layer in self.layers if layer.reason == NOT_RECOGNISED]

    def float_shares(self) -> dict[str, float]:
        """Returns for each reason the part of the multiply–accumulates in floating point for it, the largest first."""
        total, sums = sum(layer.macs for layer in self.layers), Counter[str]()
        for layer in self.layers:
            if layer.reason is not None:
                sums[layer.reason] += layer.macs
        return {reason: macs / max(total, 1) for reason, macs in sums.most_common()}

    def to_dict(self) -> dict[str, Any]:
        return {
            "share_of_macs": self.share_of_macs,
            "share_of_weights": self.share_of_weights,
            "float_shares": self.float_shares(),
            "attention_macs": self.attention_macs,
            "not_recognised": self.not_recognised,
            "layers": [asdict(layer) for layer in self.layers],
        }


def measure_coverage(student: fx.GraphModule) -> Coverage:
    """Measures what of a student (`dfq.student.convert.make_student`) runs on integers."""
    modules = dict(student.named_modules())
    found: dict[str, LayerCoverage] = {}
    attention = on_integers = 0
    for node in student.graph.nodes:
        if not is_tensor(node):
            continue
        row = _layer(node, modules) or _unknown_layer(node, student)
        if row is not None:
            before = found.get(row.name)
            macs = row.macs + (before.macs if before else 0)
            reason = row.reason or (before.reason if before else None)
            found[row.name] = LayerCoverage(row.name, row.type, macs, row.weights, reason)
        elif isinstance(modules.get(str(node.target)), QuantizedAttention):
            on_integers += _dot_product_macs(node)
        elif _is_integer_product(node, modules):
            on_integers += _attention_macs(node)
        elif node.target in (*ATTENTION, *PRODUCTS, EINSUM):
            attention += _attention_macs(node)
    return Coverage(tuple(found.values()), attention, on_integers)


def _is_integer_product(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    is_average = isinstance(modules.get(str(node.target)), QuantizedAverage)
    return is_average or (node.target in PRODUCTS and all(map(is_quantizer, _factors(node))))


def _layer(node: fx.Node, modules: dict[str, nn.Module]) -> LayerCoverage | None:
    called = modules.get(str(node.target)) if node.op == "call_module" else None
    if not isinstance(called, tuple(QUANTIZED_LAYERS.values())):
        return None
    layer: Any = called
    weight = layer.weight
    reads_integers = input_quantizer(node, modules) is not None
    must_write = isinstance(layer, nn.Conv2d) and not all(_is_quantized(user, modules) for user in node.users)
    reason = layer.float_reason or (NOT_QUANTIZED if not reads_integers else NOT_WRITTEN if must_write else None)
    kind = type(layer).__name__.removeprefix("Quant")
    return LayerCoverage(f"{node.target}", kind, call_macs(node, weight), weight.numel(), reason)


def call_macs(node: fx.Node, weight: Tensor) -> int:
    """Returns the number of multiply–accumulates for one image in a call of a layer with this weight, (out, …)."""
    return _values(node) * weight[0].numel()


def _is_quantized(reader: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Returns whether `reader` is a quantizer, or an activation in front of one, which the runtime absorbs."""
    is_relu = reader.target in (F.relu, F.relu6) or isinstance(modules.get(str(reader.target)), ChannelReLU6)
    return is_quantizer(reader) or (is_relu and all(is_quantizer(user) for user in reader.users))


def _unknown_layer(node: fx.Node, student: fx.GraphModule) -> LayerCoverage | None:
    """Returns an operator with weights that no row of the tables turned into a layer; None where `node` is not one."""
    operators = (*FLOAT_LAYERS, *CONVOLUTIONS, *PRODUCTS, EINSUM)
    if node.op != "call_function" or node.target not in operators:
        return None
    sources = [source for source in node.all_input_nodes if is_tensor(source)]
    if node.target in WITH_SUMMAND:
        sources = [source for source in sources if source is not node.args[0]]
    stored = [source for source in sources if source.op == "get_attr" and source.meta["tensor_meta"].shape.numel() > 1]
    matrices = [source for source in stored if len(_shape(source)) >= 2]
    is_convolution = node.target in (*FLOAT_LAYERS, *CONVOLUTIONS)
    if not matrices and not is_convolution:
        return None  # It is a product of two activations.
    unknown = NOT_RECOGNISED if matrices else COMPUTED_WEIGHT
    if matrices and _is_per_position(node, matrices[0]):
        unknown = MATRIX_PER_POSITION
    reason = NO_KERNEL if node.target in FLOAT_LAYERS else unknown
    if node.target in RECURRENT:
        macs = _values(sources[0]) // _shape(sources[0])[-1] * sum(prod(_shape(matrix)) for matrix in matrices)
    elif is_convolution:
        transposed = "transpose" in str(node.target)
        shape = _shape(matrices[0] if matrices else sources[1])
        macs = _values(sources[0] if transposed else node) * prod(shape[1:])
    else:
        macs = _einsum_macs(node) if node.target is EINSUM else _values(node) * _shape(_factors(node)[0])[-1]
    name = _name(matrices[0]) if matrices else node.name
    kind = str(node.target).split(".")[1]
    return LayerCoverage(name, kind, macs, sum(prod(_shape(matrix)) for matrix in matrices), reason)


def _is_per_position(node: fx.Node, matrix: fx.Node) -> bool:
    """Returns whether a product takes another matrix for each position of the other factor, as no linear layer does."""
    if node.target in PRODUCTS:
        return prod(_shape(matrix)[:-2]) > 1
    if node.target is not EINSUM:
        return False
    inputs, output = node.args[0].replace(" ", "").split("->")  # type: ignore[union-attr]
    terms, operands = inputs.split(","), list(node.args[1])  # type: ignore[arg-type]
    own = set(terms.pop(operands.index(matrix)))
    return any(index in output and any(index in term for term in terms) for index in own - {"."})


def _name(matrix: fx.Node) -> str:
    """Returns the name of the parameter that the matrix is, or that it is computed from."""
    sources = matrix.meta.get("sources", ())
    return sources[0] if len(sources) == 1 else str(matrix.target)


def _factors(node: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Returns the two factors of a product; in the case of attention, queries and keys."""
    first, second = node.args[1:3] if node.target in WITH_SUMMAND else node.args[:2]
    return first, second  # type: ignore[return-value]


def _attention_macs(node: fx.Node) -> int:
    if node.target is EINSUM:
        return _einsum_macs(node)
    if node.target in ATTENTION:
        return _dot_product_macs(node)
    first, second = _factors(node)
    return _values(first) * _shape(second)[-1]


def _dot_product_macs(node: fx.Node) -> int:
    queries, keys = node.args[:2]
    return 2 * _values(queries) * _shape(keys)[-2]  # type: ignore[arg-type]


def _einsum_macs(node: fx.Node) -> int:
    """Returns the number of multiply–accumulates for one image: the product of the sizes of all indices."""
    equation, operands = node.args[:2]
    terms = equation.replace(" ", "").split("->")[0].split(",")  # type: ignore[union-attr]
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):  # type: ignore[arg-type]
        before, dots, after = term.partition("...")
        shape = _shape(operand)  # type: ignore[arg-type]
        ends = len(shape) - len(after)
        sizes |= dict(zip(before + after, (*shape[: len(before)], *shape[ends:]), strict=True)) if dots else {}
        sizes |= {} if dots else dict(zip(term, shape, strict=True))
        sizes["..."] = max(sizes.get("...", 1), prod(shape[len(before) : ends]) if dots else 1)
    return prod(sizes.values()) // EXAMPLES


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _values(node: fx.Node) -> int:
    """Returns the number of values of a node's output for one image."""
    meta = node.meta["tensor_meta"]
    return meta.shape.numel() // EXAMPLES if isinstance(getattr(meta, "shape", None), tuple) else 0
