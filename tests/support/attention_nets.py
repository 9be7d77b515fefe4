"""Small transformers, each of which writes its attention in another form."""

from collections.abc import Callable

import torch
from support.small_nets import smooth_images
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.images.input_spec import InputSpec
from dfq.quantizers.scheme import make_scheme
from dfq.quantizers.targets import DEFAULT_TARGET, Target
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher

SPEC = InputSpec(size=(3, 16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
HEADS = 2
HEAD = 8  # channels of a head
TOKENS = 64

Form = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Returns what attention makes of queries, keys and values (N, heads, tokens, channels of a head)."""


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


def own_scale(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, scale=0.7)


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def masked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    places = torch.arange(TOKENS)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=-0.1 * (places[:, None] - places).abs())


def products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (HEAD**-0.5 * query @ key.transpose(-2, -1)).softmax(-1) @ value


class Attending(nn.Module):
    """Patches, one attention with a residual connection, and a classifier.

    Args:
        form: How attention is written.
        packed: Whether queries, keys and values are chunks of the channels instead of planes of a permuted tensor.
    """

    def __init__(self, form: Form = fused, *, packed: bool = False):
        super().__init__()
        self.form, self.packed, width = form, packed, HEADS * HEAD
        self.patches, self.norm = nn.Conv2d(3, width, 2, stride=2), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm(tokens))
        if self.packed:
            parts = [part.reshape(-1, TOKENS, HEADS, HEAD).transpose(1, 2) for part in qkv.chunk(3, dim=-1)]
        else:
            parts = qkv.reshape(-1, TOKENS, 3, HEADS, HEAD).permute(2, 0, 3, 1, 4).unbind(0)
        found = self.form(*parts).transpose(1, 2).reshape(-1, TOKENS, HEADS * HEAD)
        return self.head(self.last(tokens + self.proj(found)).mean(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fused": Attending,
    "packed": lambda: Attending(packed=True),
    "own scale": lambda: Attending(own_scale),
    "masked": lambda: Attending(masked),
    "products": lambda: Attending(products),
}


def images(count: int = 16) -> Tensor:
    """Returns normalised images (count, 3, 16, 16)."""
    return smooth_images(count, SPEC.size, torch.Generator().manual_seed(1))


def attending_teacher(network: nn.Module) -> Teacher:
    """Returns a teacher whose attention is sharp enough to matter."""
    with torch.no_grad():
        network.qkv.weight.mul_(3)
    return Teacher(network.eval(), SPEC)


def calibrated(network: nn.Module, bits: int = 8, target: str | Target = DEFAULT_TARGET) -> tuple[nn.Module, Teacher]:
    """Returns a student of the network whose ranges are set on `images`, and its teacher."""
    teacher = attending_teacher(network)
    student = make_student(teacher, make_scheme("deploy", bits=bits, target=target))
    return calibrate(student, images()).eval(), teacher
