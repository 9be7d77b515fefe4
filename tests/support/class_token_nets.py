"""A network with a class token and one attention, which is written in several forms."""

import torch
from support.small_nets import SPEC
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.teacher import Teacher

HEADS = 2
TOKENS = 17  # a class token and 4 × 4 patches


class Attends(nn.Module):
    """A class token, one attention over patches, and a classifier."""

    def __init__(self, form: str):
        super().__init__()
        self.form = form
        self.patches = nn.Conv2d(SPEC.size[0], 8, SPEC.size[1] // 4, SPEC.size[1] // 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 5)
        self.bias = nn.Parameter(torch.randn(1, HEADS, TOKENS, TOKENS))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1)
        query, key, value = self.qkv(tokens).reshape(len(images), -1, 3, HEADS, 4).permute(2, 0, 3, 1, 4).unbind(0)
        if self.form == "products":
            found = (query @ key.transpose(-1, -2) / 2 + self.bias).softmax(-1) @ value
        else:
            mask = self.bias if self.form == "masked" else None
            found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.head(found.transpose(1, 2).reshape(len(images), TOKENS, 8)[:, 0])


def attending(form: str = "fused") -> tuple[Attends, Teacher]:
    """Returns the network, and a teacher of it."""
    torch.manual_seed(0)
    network = Attends(form).eval()
    return network, Teacher(network, SPEC)
