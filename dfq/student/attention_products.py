"""Puts the two products of attention on integers: queries by keys, and probabilities by values.

The first factor of each product is unsigned and may have a zero point, as other activations do. The second is signed
and has none, because x86 multiplies unsigned by signed bytes and takes twice as long for two unsigned ones. The softmax
stays in floating point: its integer kernel is slower, and it reads exact sums of the first product instead of sums on a
grid of 8 bits (decision record 0033).
"""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from torch import fx, nn

from dfq.graph.attention import DOT_PRODUCT, MATRIX_PRODUCTS
from dfq.graph.final_softmax import SOFTMAXES
from dfq.graph.operators import QUANTIZERS, Kind, is_quantizer, is_tensor, kind_of
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.quantized_attention import QuantizedAttention, QuantizedAverage
from dfq.quantizers.scheme import Scheme

# These may stand between the product of queries and keys and the softmax: factors, masks and biases of positions.
LOGIT_OPERATORS = (operator.add, operator.sub, operator.mul, operator.truediv)
LEAST_RANK = 3  # the products of attention are matrices for each image


@dataclass(frozen=True)
class Factor:
    """A tensor that is multiplied.

    Attributes:
        reader: The node that multiplies it.
        place: Its place among the arguments of `reader`.
        name: Name of its quantizer.
        is_second: Whether it is the second factor of its product.
    """

    reader: fx.Node
    place: int
    name: str
    is_second: bool


def quantize_attention(student: fx.GraphModule, scheme: Scheme) -> None:
    """Quantizes the products of attention of at least `Target.min_keys` keys in place.

    A scaled dot product becomes a call of `QuantizedAttention`, and the product behind a softmax that follows a product
    becomes a call of `QuantizedAverage`. Queries, keys and values each get a quantizer. Attention with a causal mask of
    its own, with dropout or with fewer heads of keys than of queries stays in floating point.
    """
    least = scheme.target.min_keys
    if scheme.placement != "edges" or least == 0 or not scheme.integer_attention:
        return
    for node in list(student.graph.nodes):
        if node.target is DOT_PRODUCT and _is_plain(node) and _keys(node) >= least:
            _replace_dot_product(student, node, scheme)
        elif node.target in MATRIX_PRODUCTS:
            first = _product_before_softmax(node, student)
            if first is not None and _keys(node) >= least:
                _quantize_products(student, first, node, scheme)


def _is_plain(node: fx.Node) -> bool:
    given = dict(zip(("attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"), node.args[3:], strict=False))
    given |= node.kwargs
    plain = not given.get("is_causal") and not given.get("enable_gqa") and not given.get("dropout_p")
    factors = node.args[:3]
    return plain and len(factors) == 3 and all(_is_matrices(factor) for factor in factors)


def _is_matrices(node: object) -> TypeGuard[fx.Node]:
    """Returns whether a node is a tensor of several matrices that is computed, and no parameter."""
    if not isinstance(node, fx.Node) or not is_tensor(node) or node.op == "get_attr":
        return False
    return len(getattr(node.meta["tensor_meta"], "shape", ())) >= LEAST_RANK


def _keys(node: fx.Node) -> int:
    """Returns the number of keys, which the second argument of a dot product, or of the product by values, has."""
    second = node.args[1]
    assert isinstance(second, fx.Node)
    return second.meta["tensor_meta"].shape[-2]


def _product_before_softmax(node: fx.Node, student: fx.GraphModule) -> fx.Node | None:
    """Returns the product whose softmax is the first factor of the product `node`; None where there is none."""
    probabilities, values = node.args[:2]
    if not (_is_matrices(probabilities) and _is_matrices(values)) or probabilities.target not in SOFTMAXES:
        return None
    rank = len(probabilities.meta["tensor_meta"].shape)
    if probabilities.args[1] not in (-1, rank - 1):
        return None
    source = probabilities.args[0]
    while isinstance(source, fx.Node) and source.target not in MATRIX_PRODUCTS:
        if source.target not in LOGIT_OPERATORS and kind_of(source, student) is not Kind.PASS:
            return None
        source = source.args[0]
    if not isinstance(source, fx.Node) or not all(_is_matrices(factor) for factor in source.args[:2]):
        return None
    query = source.args[0]
    assert isinstance(query, fx.Node)
    return None if is_quantizer(query) and str(query.target).endswith("_query") else source


def _replace_dot_product(student: fx.GraphModule, node: fx.Node, scheme: Scheme) -> None:
    names = ("attn_mask", "dropout_p", "is_causal", "scale")
    given: dict[str, Any] = dict(zip(names, node.args[3:], strict=False)) | node.kwargs
    module = QuantizedAttention(_probabilities(student, node, scheme), given.get("scale"))
    mask = given.get("attn_mask")
    call = _replace(student, node, module, (*node.args[:3], *([] if mask is None else [mask])))
    for place, what in enumerate(("query", "key", "value")):
        _insert(student, Factor(call, place, f"{call.name}_{what}", place > 0), scheme)


def _quantize_products(student: fx.GraphModule, first: fx.Node, second: fx.Node, scheme: Scheme) -> None:
    module = QuantizedAverage(_probabilities(student, second, scheme))
    call = _replace(student, second, module, second.args[:2])
    _insert(student, Factor(first, 0, f"{call.name}_query", is_second=False), scheme)
    _insert(student, Factor(first, 1, f"{call.name}_key", is_second=True), scheme)
    _insert(student, Factor(call, 1, f"{call.name}_value", is_second=True), scheme)


def _probabilities(student: fx.GraphModule, node: fx.Node, scheme: Scheme) -> FakeQuantize:
    quantizer = FakeQuantize(scheme.activation_spec(scheme.edge_bits))
    student.get_submodule(QUANTIZERS).add_module(f"{node.name}_probabilities", quantizer)
    return quantizer


def _replace(student: fx.GraphModule, node: fx.Node, module: QuantizedAverage, arguments: tuple) -> fx.Node:
    """Calls `module` in place of `node`, under its name: a student's blocks and its teacher's are found by names."""
    name = f"{node.name}_products"
    student.add_submodule(name, module)
    with student.graph.inserting_before(node):
        call = student.graph.call_module(name, arguments)
    call.meta, kept = dict(node.meta), node.name
    node.replace_all_uses_with(call)
    student.graph.erase_node(node)
    call.name = kept
    return call


def _insert(student: fx.GraphModule, factor: Factor, scheme: Scheme) -> None:
    source = factor.reader.args[factor.place]
    assert isinstance(source, fx.Node)
    spec = scheme.activation_spec(scheme.edge_bits)
    if factor.is_second:
        spec = replace(spec, signed=True, symmetric=True)
    path = f"{QUANTIZERS}.{factor.name}"
    student.add_submodule(path, FakeQuantize(spec))
    with student.graph.inserting_before(factor.reader):
        call = student.graph.call_module(path, (source,))
    call.meta = dict(source.meta)
    arguments = list(factor.reader.args)
    arguments[factor.place] = call  # Only here: the other factor may be the same tensor.
    factor.reader.args = tuple(arguments)


def second_factors(student: nn.Module, graph: fx.Graph) -> Iterator[fx.Node]:
    """Yields the calls of quantizers whose tensors are second factors of a product of attention."""
    for node in graph.nodes:
        called = student.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(called, QuantizedAttention):
            seconds = node.args[1:3]
        else:
            seconds = node.args[1:2] if isinstance(called, QuantizedAverage) or node.target in MATRIX_PRODUCTS else ()
        for second in seconds:
            if isinstance(second, fx.Node) and is_quantizer(second):
                yield second
