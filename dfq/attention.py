"""Multi-head attention spelled out in linear layers, so that tracing sees what it multiplies."""

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SpelledOutAttention(nn.Module):
    """`nn.MultiheadAttention` for self-attention without masks, as `in_projection`, product, `out_projection`.

    Shapes: query, key and value are one tensor (N, L, E), batch first; returns ((N, L, E), None) as the original does
    with `need_weights=False`.
    """

    def __init__(self, original: nn.MultiheadAttention):
        super().__init__()
        self.heads, self.head_width = original.num_heads, original.head_dim
        width = original.embed_dim
        has_bias = original.in_proj_bias is not None
        self.in_projection = nn.Linear(width, 3 * width, bias=has_bias)
        self.in_projection.weight = original.in_proj_weight
        if has_bias:
            self.in_projection.bias = original.in_proj_bias
        self.out_projection = nn.Linear(width, width, bias=original.out_proj.bias is not None)
        self.out_projection.weight, self.out_projection.bias = original.out_proj.weight, original.out_proj.bias

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        batch, length = query.shape[0], query.shape[1]
        packed = self.in_projection(query).reshape(batch, length, 3, self.heads, self.head_width)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, heads, L, E / heads)
        mixed = scaled_dot_product_attention(q, k, v)
        return self.out_projection(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.head_width)), None


def spell_out_attention(model: nn.Module) -> None:
    """Replaces every self-attention module that can be spelled out, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention) and child.batch_first and child.in_proj_weight is not None:
                setattr(parent, name, SpelledOutAttention(child).eval())
