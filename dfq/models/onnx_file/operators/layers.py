"""Operators with weights, normalisations, and products of two tensors."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dfq.models.onnx_file.operators.paddings import explicit_padding, split_padding
from dfq.models.onnx_file.operators.row import Node, Operator


def _convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.dim() - 2
    stride, dilation = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    pads = explicit_padding(node, x.shape[2:], weight.shape[2:], stride, dilation)
    x, padding = split_padding(x, pads, 0.0)
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return function(x, weight, bias, stride, padding, dilation, node.get("group", 1))


def _transposed(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.dim() - 2
    stride, dilation = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    extra = list(node.get("output_padding", [0] * rank))
    pads = list(node.get("pads", [0] * 2 * rank))
    wanted = node.get("output_shape")
    if wanted is not None or node.get("auto_pad", "NOTSET").startswith("SAME"):
        sizes = (
            wanted[-rank:]
            if wanted is not None
            else [length * s for length, s in zip(x.shape[2:], stride, strict=True)]
        )
        for axis in range(rank):
            kernel = dilation[axis] * (weight.shape[2 + axis] - 1) + 1
            total = stride[axis] * (x.shape[2 + axis] - 1) + extra[axis] + kernel - sizes[axis]
            small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
            first, second = (small, large) if node.get("auto_pad") != "SAME_LOWER" else (large, small)
            pads[axis], pads[axis + rank] = first, second
            extra[axis] += max(-total, 0)
    starts, ends = pads[:rank], pads[rank:]
    padding = [min(pair) for pair in zip(starts, ends, strict=True)]
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    y = function(x, weight, bias, stride, padding, extra, node.get("group", 1), dilation)
    for axis in range(rank):  # what is cut on one side alone
        first, last = starts[axis] - padding[axis], ends[axis] - padding[axis]
        if first or last:
            y = y.narrow(2 + axis, first, y.shape[2 + axis] - first - last)
    return y


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    a = a.mT if node.get("transA", 0) else a
    weight = b if node.get("transB", 0) else b.mT
    if c is not None and beta != 1:
        c = c * beta
    if c is not None and c.dim() > 1 and c.numel() == weight.shape[0]:
        c = c.reshape(-1)
    if alpha == 1 and (c is None or (c.dim() == 1 and len(c) == weight.shape[0])):
        return F.linear(a, weight, c)
    y = F.linear(a, weight)
    y = y * alpha if alpha != 1 else y
    return y if c is None else y + c


def _matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def _batch_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor):
    y = F.batch_norm(x, mean, variance, scale, shift, training=False, eps=node.get("epsilon", 1e-5))
    return y if node.outputs == 1 else (y, *[None] * (node.outputs - 1))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=shift, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor | None = None):
    axis = node.get("axis", -1) % x.dim()
    y = F.layer_norm(x, x.shape[axis:], scale, shift, node.get("epsilon", 1e-5))
    return y if node.outputs == 1 else (y, *[None] * (node.outputs - 1))


def _group_norm(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    groups, channels = node["num_groups"], x.shape[1]
    if len(scale) == groups != channels:  # opset 18 has one scale for each group
        scale, shift = (values.repeat_interleave(channels // groups) for values in (scale, shift))
    return F.group_norm(x, groups, scale, shift, node.get("epsilon", 1e-5))


def _lrn(node: Node, x: Tensor) -> Tensor:
    return F.local_response_norm(
        x, node["size"], node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    )


def _softmax(function):
    def run(node: Node, x: Tensor) -> Tensor:
        axis = node.get("axis", -1 if node.opset >= 13 else 1)
        if node.opset >= 13:
            return function(x, axis)
        axis %= x.dim()  # before opset 13 all axes from this one on are one
        return function(x, axis) if axis == x.dim() - 1 else function(x.flatten(axis), axis).reshape(x.shape)

    return Operator(run)


def _einsum(node: Node, *inputs: Tensor) -> Tensor:
    return torch.einsum(node["equation"], *inputs)


def _attention(node: Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *rest: Tensor | None) -> Tensor:
    """Attention; tensors of rank 3 hold the heads side by side."""
    if node.outputs > 1 or any(each is not None for each in rest):
        raise NotImplementedError("attention with keys and values of an earlier call")
    if node.get("softcap", 0.0):
        raise NotImplementedError("attribute softcap")
    is_flat = q.dim() == 3
    if is_flat:
        heads = [node[f"{name}_num_heads"] for name in ("q", "kv", "kv")]
        q, k, v = (each.unflatten(2, (count, -1)).transpose(1, 2) for each, count in zip((q, k, v), heads, strict=True))
    if k.shape[1] != q.shape[1]:
        raise NotImplementedError("several heads with the same keys and values")
    causal = bool(node.get("is_causal", 0))
    if causal and mask is not None:
        raise NotImplementedError("a mask beside is_causal")
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=node.get("scale"))
    return y.transpose(1, 2).flatten(2) if is_flat else y


AFFINE = {1: "weight", 2: "bias"}
LAYERS = {
    "Conv": Operator(_convolution, weights=AFFINE),
    "ConvTranspose": Operator(_transposed, weights=AFFINE),
    "Gemm": Operator(_gemm, weights=AFFINE),
    "MatMul": Operator(_matmul, weights={0: "weight", 1: "weight"}),
    "BatchNormalization": Operator(_batch_norm, weights=AFFINE),
    "InstanceNormalization": Operator(_instance_norm, weights=AFFINE),
    "LayerNormalization": Operator(_layer_norm, weights=AFFINE),
    "GroupNormalization": Operator(_group_norm, weights=AFFINE),
    "LRN": Operator(_lrn),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Einsum": Operator(_einsum),
    "Attention": Operator(_attention),
}
