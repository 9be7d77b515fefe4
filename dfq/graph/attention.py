"""Finds the attention in a captured network: scaled dot products, or a softmax between two products."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.graph.final_softmax import SOFTMAXES
from dfq.graph.operators import is_tensor

ATEN = torch.ops.aten
DOT_PRODUCT = ATEN.scaled_dot_product_attention.default
MATRIX_PRODUCTS = (torch.matmul, operator.matmul, torch.bmm, ATEN.matmul.default, ATEN.bmm.default)


@dataclass(frozen=True)
class Attention:
    """What one attention computed for a batch; windows count as images.

    Attributes:
        probabilities: Attention of each query (second last) to each key (last), (N, heads, Q, K).
        values: Values that are averaged, (N, heads, K, D).
    """

    probabilities: Tensor
    values: Tensor


@dataclass(frozen=True)
class AttentionNodes:
    """The tensors of a network from which one attention can be told.

    Attributes:
        tensors: Query, key, value and mask (where there is one) of a scaled dot product; or the probabilities and the
            value of a softmax between two products.
        scale: Factor of the logits of a scaled dot product; None: 1 / √D.
        is_fused: Whether it is a scaled dot product.
    """

    tensors: tuple[fx.Node, ...]
    scale: float | None
    is_fused: bool

    def read(self, tensors: Sequence[Tensor]) -> Attention:
        """Returns the attention of the values that `tensors` had in a pass; differentiable."""
        if not self.is_fused:
            probabilities, values = (tensor.float() for tensor in tensors)
            return Attention(
                *(tensor if tensor.dim() == 4 else tensor.unsqueeze(1) for tensor in (probabilities, values))
            )
        query, key, value, *mask = (tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors)
        scale = 1 / math.sqrt(query.shape[-1]) if self.scale is None else self.scale
        logits = scale * query @ key.transpose(-1, -2)
        if mask:
            logits = logits.masked_fill(~mask[0], -math.inf) if mask[0].dtype is torch.bool else logits + mask[0]
        return Attention(logits.softmax(-1), value)


def find_attention(network: fx.GraphModule) -> list[AttentionNodes]:
    """Returns the attentions of a captured network, in the order of their computation."""
    found = (_attention_at(node) for node in network.graph.nodes)
    return [attention for attention in found if attention is not None]


def _attention_at(node: fx.Node) -> AttentionNodes | None:
    if node.target is DOT_PRODUCT:
        given = dict(zip(("query", "key", "value", "attn_mask"), node.args, strict=False)) | dict(node.kwargs)
        parts = [given[name] for name in ("query", "key", "value")]
        mask = given.get("attn_mask")
        if given.get("is_causal") or not all(isinstance(part, fx.Node) for part in parts):
            return None
        tensors = (*parts, mask) if isinstance(mask, fx.Node) else tuple(parts)
        return AttentionNodes(tensors, given.get("scale"), is_fused=True)
    if node.target in MATRIX_PRODUCTS and isinstance(node.args[0], fx.Node) and node.args[0].target in SOFTMAXES:
        probabilities, values = node.args[:2]
        if is_tensor(values) and len(probabilities.meta["tensor_meta"].shape) in (3, 4):
            return AttentionNodes((probabilities, values), None, is_fused=False)
    return None
