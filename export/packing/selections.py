"""Takes tensors apart by one Split where a projection gives queries, keys and values together.

Networks reshape (N, P, 3 · C) to (N, P, 3, heads, D), move the dimension of length 3 to the front and select its
entries. As each entry has a grid of its own, the selection must come before the quantizers, and the moves should come
after them. Split does the former in one pass, and no QuantizeLinear is moved through it by the runtime.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

LEADING = ("Transpose", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class _Selection:
    """A reader that takes one entry of a dimension.

    Attributes:
        node: The reader.
        axis: The dimension, counted from the front.
        index: The entry.
        keeps: Whether the dimension remains, with length 1.
    """

    node: ir.Node
    axis: int
    index: int
    keeps: bool


def split_selections(graph: ir.Graph) -> bool:
    """Rewrites selections of tensors in place where signed quantizers follow; what is computed stays the same.

    Returns:
        Whether the graph has signed quantizers without zero point, as products of attention have.
    """
    marks = [node for node in graph if node.op_type == "QuantizeLinear" and len(node.inputs) == 2]
    sources = {id(value): value for value in map(_selected, marks) if value is not None}
    for value in sources.values():
        _split(graph, value)
    return bool(marks)


def _selected(quantize: ir.Node) -> ir.Value | None:
    """Returns the tensor from which what a quantizer reads was selected, however it was moved since."""
    value = quantize.inputs[0]
    while value is not None and (node := value.producer()) is not None:
        if _selection(node) is not None:
            return node.inputs[0]
        if node.op_type not in (*LEADING, "Reshape"):
            return None
        value = node.inputs[0]
    return None


def _selection(node: ir.Node) -> _Selection | None:
    source = node.inputs[0] if node.inputs else None
    if source is None or source.shape is None or any(_constant(value) is None for value in node.inputs[1:]):
        return None
    given = [_constant(value) for value in node.inputs[1:]]
    if node.op_type == "Gather" and given[0].ndim == 0:
        attribute = node.attributes.get("axis")
        return _Selection(node, (attribute.as_int() if attribute else 0) % len(source.shape), int(given[0]), False)
    if node.op_type == "Slice" and len(given) >= 3 and all(each.size == 1 for each in given):
        start, end, axis = (int(each.item()) for each in given[:3])
        if end - start == 1 and start >= 0:
            return _Selection(node, axis % len(source.shape), start, True)
    return None


def _constant(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _split(graph: ir.Graph, value: ir.Value) -> None:
    found = [_selection(user) for user, _ in value.uses()]
    selections = [each for each in found if each is not None]
    axes, indices = {each.axis for each in selections}, sorted(each.index for each in selections)
    if len(selections) < len(found) or len(axes) != 1 or value.shape is None:
        return
    axis = axes.pop()
    if indices != list(range(len(indices))) or value.shape[axis] != len(indices):
        return
    top, position, moves = _before_moves(value, axis)
    count = len(indices)
    split = ir.node("Split", [top], attributes={"axis": position, "num_outputs": count}, num_outputs=count)
    split.name = f"{selections[0].node.name}/Split"
    graph.insert_before(graph[0], split)
    for each in selections:
        _branch(graph, split.outputs[each.index], each, moves)


def _before_moves(value: ir.Value, axis: int) -> tuple[ir.Value, int, list[ir.Node]]:
    """Returns the tensor in front of the moves that lead to `value`, the dimension there, and the moves in order."""
    moves: list[ir.Node] = []
    node = value.producer()
    while node is not None and node.op_type in LEADING and (not moves or len(value.uses()) == 1):
        before = _dimension_before(node, axis)
        if before is None:
            break
        moves.insert(0, node)
        value, axis = node.inputs[0], before  # type: ignore[assignment]
        node = value.producer()
    return value, axis, moves


def _dimension_before(node: ir.Node, axis: int) -> int | None:
    """Returns which dimension of a move's input is `axis` of its output; None where it cannot be told."""
    if node.op_type == "Transpose":
        return list(node.attributes["perm"].as_ints())[axis]
    axes, inner, outer = _constant(node.inputs[1]), node.inputs[0].shape, node.outputs[0].shape
    if axes is None or inner is None or outer is None:
        return None
    longer = len(outer) if node.op_type == "Unsqueeze" else len(inner)
    single = {int(each) % longer for each in axes}
    others = [each for each in range(longer) if each not in single]
    if node.op_type == "Squeeze":
        return others[axis]
    return others.index(axis) if axis in others else None


def _branch(graph: ir.Graph, value: ir.Value, selection: _Selection, moves: list[ir.Node]) -> None:
    """Repeats the moves for one entry and gives the result to the readers of the selection."""
    for move in moves:
        again = ir.node(move.op_type, [value, *move.inputs[1:]], attributes=dict(move.attributes))
        again.name = f"{move.name}.{selection.index}"
        graph.insert_before(graph[0], again)
        value = again.outputs[0]
    if not selection.keeps:
        axes = ir.val(f"{selection.node.outputs[0].name}.axes", const_value=ir.Tensor(np.array([selection.axis])))
        graph.register_initializer(axes)
        squeeze = ir.node("Squeeze", [value, axes], name=selection.node.name)
        graph.insert_before(graph[0], squeeze)
        value = squeeze.outputs[0]
    selection.node.outputs[0].replace_all_uses_with(value)
    graph.remove(selection.node, safe=True)
