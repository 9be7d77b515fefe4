"""Operators that move, select and reduce."""

import torch
from torch import Tensor

from dfq.models.onnx_file.operators.row import Node, Operator


def _reshape(node: Node, x: Tensor, shape) -> Tensor:
    if not node.get("allowzero", 0):
        shape = [x.shape[place] if length == 0 and place < x.dim() else length for place, length in enumerate(shape)]
    return x.reshape(shape)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    if axis in (1, 1 - x.dim()):
        return torch.flatten(x, 1)
    axis %= x.dim() + (axis < 0)
    return x.reshape(int(torch.Size(x.shape[:axis]).numel()), -1)


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm") or list(reversed(range(x.dim()))))


def _concat(node: Node, *inputs: Tensor) -> Tensor:
    axis = node["axis"] % inputs[0].dim()
    if axis and any(not _same(x.shape[0], inputs[0].shape[0]) for x in inputs):  # some are constants of one row
        count = next(x.shape[0] for x in inputs if not _is_one(x.shape[0]))
        inputs = tuple(x.expand(count, *x.shape[1:]) if _is_one(x.shape[0]) else x for x in inputs)
    return torch.cat(inputs, axis)


def _is_one(length) -> bool:
    return isinstance(length, int) and length == 1


def _same(one, other) -> bool:
    return (isinstance(one, int) == isinstance(other, int)) and (one is other or one == other)


def _split(node: Node, x: Tensor, lengths=None):
    axis = node.get("axis", 0)
    lengths = node.get("split") if lengths is None else lengths
    if lengths is None:
        parts = node.get("num_outputs", node.outputs)
        size = -(-x.shape[axis] // parts)
        lengths = [min(size, x.shape[axis] - place * size) for place in range(parts)]
    return tuple(torch.split(x, list(lengths), axis))


def _slice(node: Node, x: Tensor, starts=None, ends=None, axes=None, steps=None) -> Tensor:
    starts, ends = starts or node.get("starts"), ends or node.get("ends")
    axes = axes or node.get("axes") or list(range(len(starts)))
    for place, axis in enumerate(axes):
        step = steps[place] if steps else 1
        start, end, length = starts[place], ends[place], x.shape[axis]
        if step < 0:
            start = min(start if start >= 0 else start + length, length - 1)
            end = max(end if end >= 0 else end + length, -1) if end > -(2**31) else -1
            x = x.index_select(axis, torch.arange(start, end, step, device=x.device))
            continue
        if isinstance(start, int) and start == 0 and isinstance(end, int) and end >= 2**31 - 1 and step == 1:
            continue
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, None if isinstance(end, int) and end >= 2**31 - 1 else end, step)
        x = x[tuple(index)]
    return x


def _gather(node: Node, x: Tensor, index) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    if isinstance(index, Tensor):
        index = torch.where(index < 0, index + x.shape[axis], index)
        flat = x.index_select(axis, index.reshape(-1))
        return flat.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return x.select(axis, index)


def gather_of_each_image(rows: int, shape: tuple[int, ...]) -> Operator:
    """Returns the row of a gather that takes the same of each image's rows; each result has `shape` in their place."""

    def run(node: Node, x: Tensor, index: Tensor) -> Tensor:
        found = x.reshape(-1, rows, *x.shape[1:]).index_select(1, index)
        return found.reshape(-1, *shape, *x.shape[1:])

    return Operator(run)


def _squeeze(node: Node, x: Tensor, axes=None) -> Tensor:
    axes = node.get("axes") if axes is None else axes
    if axes is None:
        axes = [place for place, length in enumerate(x.shape) if _is_one(length)]
    return x.squeeze(tuple(axis % x.dim() for axis in axes))


def _unsqueeze(node: Node, x: Tensor, axes=None) -> Tensor:
    axes = node.get("axes") if axes is None else axes
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _expand(node: Node, x: Tensor, shape) -> Tensor:
    rank = max(x.dim(), len(shape))
    lengths = [1] * (rank - x.dim()) + list(x.shape)
    wanted = [1] * (rank - len(shape)) + list(shape)
    return x.expand([old if _is_one(new) else new for old, new in zip(lengths, wanted, strict=True)])


def _constant_of_shape(node: Node, shape) -> Tensor:
    value = node.get("value")
    if value is None:
        return torch.zeros(shape)
    return torch.full(shape, value.reshape(-1)[0].item(), dtype=torch.from_numpy(value.copy()).dtype)


def reduction(reduce):
    def run(node: Node, x: Tensor, axes=None) -> Tensor:
        axes = node.get("axes") if axes is None else axes
        keep = bool(node.get("keepdims", 1))
        if not axes:
            if axes is not None and node.get("noop_with_empty_axes", 0):
                return x
            axes = range(x.dim())
        return reduce(x, tuple(axis % x.dim() for axis in axes), keep)

    return Operator(run, static=(1,))


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _arg_max(node: Node, x: Tensor) -> Tensor:
    return x.argmax(node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


def _top_k(node: Node, x: Tensor, count):
    return tuple(
        torch.topk(x, count[0], node.get("axis", -1), bool(node.get("largest", 1)), bool(node.get("sorted", 1)))
    )


def _trilu(node: Node, x: Tensor, k=None) -> Tensor:
    return (torch.triu if node.get("upper", 1) else torch.tril)(x, k[0] if k else 0)


SHAPES = {
    "Reshape": Operator(_reshape, static=(1,)),
    "Flatten": Operator(_flatten),
    "Transpose": Operator(_transpose),
    "Concat": Operator(_concat),
    "Split": Operator(_split, static=(1,)),
    "Slice": Operator(_slice, static=(1, 2, 3, 4)),
    "Gather": Operator(_gather, numbers=(1,)),
    "GatherElements": Operator(lambda node, x, index: torch.gather(x, node.get("axis", 0), index)),
    "Squeeze": Operator(_squeeze, static=(1,)),
    "Unsqueeze": Operator(_unsqueeze, static=(1,)),
    "Expand": Operator(_expand, static=(1,)),
    "Tile": Operator(lambda node, x, repeats: x.repeat(repeats), static=(1,)),
    "ConstantOfShape": Operator(_constant_of_shape, static=(0,)),
    "Range": Operator(lambda node, start, end, step: torch.arange(start[0], end[0], step[0]), static=(0, 1, 2)),
    "CumSum": Operator(lambda node, x, axis: x.cumsum(axis[0]), static=(1,)),
    "ArgMax": Operator(_arg_max),
    "TopK": Operator(_top_k, static=(1,)),
    "Trilu": Operator(_trilu, static=(1,)),
    "ReduceMean": reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": reduction(_product),
    "ReduceL1": reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceSumSquare": reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ReduceLogSumExp": reduction(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
}
