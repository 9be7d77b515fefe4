"""Rows of functions that move, select and repeat values."""

import onnx_ir as ir

from dfq.export.writing.call import Batch, Call, Written, plain_number, require

END = 2**63 - 1  # stands for "to the end" in slices


def concatenate(call: Call) -> Written:
    require(isinstance(call.arguments[0], (list, tuple)))
    require(all(isinstance(each, ir.Value) for each in call.arguments[0]))
    if len(call.arguments[0]) == 1:
        return call.arguments[0][0]
    return call.write("Concat", list(call.arguments[0]), axis=call.get(1, "dim", 0))


def pad(call: Call) -> Written:
    pads, rank = list(call.arguments[1]), call.result.dim()
    require(call.get(2, "mode", "constant") == "constant", all(isinstance(each, int) and each >= 0 for each in pads))
    begins, ends = [0] * rank, [0] * rank
    for place, axis in enumerate(range(rank - 1, rank - 1 - len(pads) // 2, -1)):
        begins[axis], ends[axis] = pads[2 * place : 2 * place + 2]
    inputs = [call.arguments[0], call.to.number([*begins, *ends])]
    if (value := call.get(3, "value")) not in (None, 0):
        inputs.append(plain_number(call, value))
    return call.write("Pad", inputs, mode="constant")


def reshape(call: Call) -> Written:
    sizes = list(call.arguments[1])
    open_ = [place for place, size in enumerate(sizes) if isinstance(size, Batch)]
    require(all(isinstance(size, (int, Batch)) for size in sizes), len(open_) <= 1)
    if open_:
        keeps = open_ == [0] and call.tensors[0].shape[0] == call.result.shape[0]
        require(keeps or -1 not in sizes)
        sizes[open_[0]] = 0 if keeps else -1
    require(call.result.numel() > 0)
    return call.write("Reshape", [call.arguments[0], call.to.number(sizes)])


def flatten(call: Call) -> Written:
    ends = (call.get(1, "start_dim", 0), call.get(2, "end_dim", -1))
    require(ends in ((1, -1), (1, call.tensors[0].dim() - 1)))
    return call.write("Reshape", [call.arguments[0], call.to.number([0, call.result.shape[1]])])


def transpose(call: Call) -> Written:
    order = list(range(call.result.dim()))
    one, other = call.arguments[1:3]
    order[one], order[other] = order[other], order[one]
    return call.write("Transpose", [call.arguments[0]], perm=order)


def permute(call: Call) -> Written:
    order = [axis % call.result.dim() for axis in call.arguments[1]]
    return call.write("Transpose", [call.arguments[0]], perm=order)


def squeeze(call: Call) -> Written:
    dims = call.get(1, "dim")
    require(dims is not None)
    axes = [axis % call.tensors[0].dim() for axis in ([dims] if isinstance(dims, int) else dims)]
    require(0 not in axes, all(call.tensors[0].shape[axis] == 1 for axis in axes))
    return call.write("Squeeze", [call.arguments[0], call.to.number(axes)])


def unsqueeze(call: Call) -> Written:
    return call.write("Unsqueeze", [call.arguments[0], call.to.number([call.get(1, "dim") % call.result.dim()])])


def split(call: Call) -> Written:
    axis = call.get(2, "dim", 0) % call.tensors[0].dim()
    require(axis != 0)
    sizes = call.to.number([part.shape[axis] for part in call.result])
    written = call.write("Split", [call.arguments[0], sizes], len(call.result), axis=axis)
    return written if isinstance(written, list) else [written]


def item(call: Call) -> Written:
    source, index = call.arguments
    if isinstance(source, list):
        require(isinstance(index, int))
        return source[index]
    parts = index if isinstance(index, tuple) else (index,)
    require(isinstance(source, ir.Value), all(isinstance(part, slice) for part in parts))
    taken = [(axis, part) for axis, part in enumerate(parts) if not _takes_all(part)]
    if not taken:
        return source
    bounds = [(part.start or 0, END if part.stop is None else part.stop, part.step or 1) for _, part in taken]
    require(all(isinstance(each, int) for bound in bounds for each in bound), all(step > 0 for *_, step in bounds))
    axes = [axis for axis, _ in taken]
    starts, stops, steps = (call.to.number(list(each)) for each in zip(*bounds, strict=True))
    return call.write("Slice", [source, starts, stops, call.to.number(axes), steps])


def _takes_all(part: slice) -> bool:
    return part.start in (None, 0) and part.stop in (None, END) and part.step in (None, 1)


def pixel_shuffle(call: Call) -> Written:
    return call.write("DepthToSpace", [call.arguments[0]], blocksize=call.arguments[1], mode="CRD")


def channel_shuffle(call: Call) -> Written:
    groups, (_, channels, height, width) = call.get(1, "groups"), call.result.shape
    inner = call.to.number([0, groups, channels // groups, height, width])
    parts = call.write("Transpose", [call.write("Reshape", [call.arguments[0], inner])], perm=[0, 2, 1, 3, 4])
    return call.write("Reshape", [parts, call.to.number([0, channels, height, width])])


def upsample_nearest(call: Call) -> Written:
    factors = call.get(2, "scale_factors")
    require(call.get(1, "output_size") is None, factors is not None)
    scales = call.to.number([1.0, 1.0, *map(float, factors)])
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return call.write("Resize", [call.arguments[0], None, scales], **modes)
