"""Networks whose layers are plain, but whose forward pass is not: in-place updates, attention, other people's norms."""

import torch
from support.weight_cases import Case
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.ops import FrozenBatchNorm2d


class Plain(nn.Module):
    """Two convolutions and a linear layer; subclasses use them in other ways."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def maps(self, images: Tensor) -> Tensor:
        return self.second(F.relu(self.first(images)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.maps(images).mean((2, 3)))


class AddedInPlace(Plain):
    """A position is added in place; the shortcut is the same tensor."""

    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 8, 8, 8))

    def maps(self, images):
        x = shortcut = self.first(images)
        x += self.position
        return self.second(x) + shortcut


class RectifiedInPlace(Plain):
    """A branch begins with an in-place ReLU, so that the shortcut is rectified, too."""

    def maps(self, images):
        x = self.first(images)
        return self.second(F.relu(x, inplace=True)) + x


class WritesToImages(Plain):
    """Normalises its input in place."""

    def maps(self, images):
        images.sub_(0.2).mul_(3)
        return super().maps(images)


class WritesToItsCopy(Plain):
    """A buffer is copied, and the copy changed in place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.rand(1, 8, 1, 1) + 0.5)

    def maps(self, images):
        scale = self.scale.clone()
        scale.mul_(2)
        return super().maps(images) * scale


class Clamped(Plain):
    """In-place methods whose result nobody takes."""

    def maps(self, images):
        x = self.first(images)
        x.mul_(0.5)
        x.clamp_(max=0.4)
        return self.second(x)


class Counted(Plain):
    """Which values are positive, as numbers."""

    def maps(self, images):
        return (self.first(images) > 0) * 1.0 + self.second(F.relu(self.first(images)))


class CrossAttention(nn.Module):
    """A learned query reads the patches."""

    def __init__(self, batch_first: bool):
        super().__init__()
        self.patches, self.query = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=batch_first), nn.Linear(8, 4)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        query = self.query.expand(images.shape[0], -1, -1)
        if not self.attention.batch_first:
            tokens, query = tokens.transpose(0, 1), query.transpose(0, 1)
        answer, _ = self.attention(query, tokens, tokens, need_weights=False)
        return self.head(answer.flatten(0, 1))


class MaskedAttention(nn.Module):
    """Patches read those before them: a buffer of −inf."""

    def __init__(self, batch_first: bool):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=batch_first), nn.Linear(8, 4)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1), persistent=batch_first)

    def forward(self, images):
        tokens = self.patches(images).flatten(2)
        is_first = self.attention.batch_first
        tokens = self.norm(tokens.transpose(1, 2) if is_first else tokens.permute(2, 0, 1))
        answer, _ = self.attention(tokens, tokens, tokens, attn_mask=self.mask)
        return self.head((tokens + answer).mean(1 if is_first else 0))


class NormalizedTokens(nn.Module):
    """A linear layer mixes the positions of (N, C, L); BatchNorm1d normalises the C channels."""

    def __init__(self, length: int):
        super().__init__()
        self.patches, self.mix = nn.Conv2d(3, 16, 2, 2), nn.Linear(16, length)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 4)

    def forward(self, images):
        return self.head(F.relu(self.norm(self.mix(self.patches(images).flatten(2)))).mean(2))


class Defaults(Plain):
    def forward(self, images, mask=None, return_features=False):
        assert images.dim() == 4 and images.shape[1] == 3, "colour images, please"
        x = self.maps(images)
        x = x if mask is None else x * mask
        x = F.max_pool2d(x, 2) if x.shape[-1] > 4 else x
        return x if return_features else self.head(x.mean((2, 3), True).view(x.size(0), -1))


@torch.jit.script
def scripted_swish(x):
    return x * torch.sigmoid(x)


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return gradient * gate * (1 + x * (1 - gate))


class Activated(Plain):
    """An activation of an unusual kind."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def maps(self, images):
        return self.second(self.function(self.first(images)))


class Checkpointed(Plain):
    def maps(self, images):
        return checkpoint(super().maps, images, use_reentrant=False)


class Autocast(Plain):
    def maps(self, images):
        with torch.autocast("cpu", enabled=False):
            return super().maps(images.float())


class Frozen(nn.Module):
    """BatchNorm that never learns, written in four ways."""

    def __init__(self, form: str):
        super().__init__()
        self.form = form
        self.register_buffer("weight", torch.rand(8) + 0.5)
        self.register_buffer("bias", torch.randn(8))
        self.register_buffer("running_mean", torch.randn(8))
        self.register_buffer("running_var", torch.rand(8) + 0.5)

    def forward(self, x):
        mean, variance = self.running_mean.view(-1, 1, 1), self.running_var.view(-1, 1, 1)
        weight, bias = self.weight.view(1, -1, 1, 1), self.bias.view(1, -1, 1, 1)
        if self.form == "affine":
            factor = weight * (variance + 1e-3).rsqrt()
            return bias - mean * factor + factor * x
        if self.form == "divided":
            return (x - mean) / torch.sqrt(variance + 1e-3) * weight + bias
        return (x - mean) * (variance + 1e-3).rsqrt()


class Normalized(Plain):
    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def maps(self, images):
        return self.second(F.relu(self.norm(self.first(images))))


def torchvision_norm() -> nn.Module:
    norm = FrozenBatchNorm2d(8)
    norm.running_mean, norm.running_var = torch.randn(8), torch.rand(8) + 0.5
    return norm


PLAIN = ("first", "second", "head")
ATTENTION = ("patches", "attention.in_proj", "attention.in_proj_2", "attention.out_proj", "head")
FROZEN: dict[str, Case] = {
    "frozen, of torchvision": Case(lambda: Normalized(torchvision_norm()), PLAIN),
    "frozen, factor and offset": Case(lambda: Normalized(Frozen("affine")), PLAIN),
    "frozen, divided": Case(lambda: Normalized(Frozen("divided")), PLAIN),
    "frozen, without weight": Case(lambda: Normalized(Frozen("bare")), PLAIN),
}
FORWARDS: dict[str, Case] = {
    "added in place": Case(AddedInPlace, PLAIN),
    "rectified in place": Case(RectifiedInPlace, PLAIN),
    "writes to its images": Case(WritesToImages, PLAIN),
    "writes to its copy": Case(WritesToItsCopy, PLAIN),
    "clamped in place": Case(Clamped, PLAIN),
    "comparison as numbers": Case(Counted, PLAIN),
    "cross-attention": Case(lambda: CrossAttention(True), ATTENTION),
    "cross-attention, sequence first": Case(lambda: CrossAttention(False), ATTENTION),
    "masked attention": Case(lambda: MaskedAttention(True), ("patches", "attention.in_proj", *ATTENTION[3:])),
    "masked attention, sequence first": Case(
        lambda: MaskedAttention(False), ("patches", "attention.in_proj", *ATTENTION[3:])
    ),
    "as many tokens as channels": Case(lambda: NormalizedTokens(16), ("patches", "mix", "head")),
    "fewer tokens than channels": Case(lambda: NormalizedTokens(7), ("patches", "mix", "head")),
    "default arguments, asserts": Case(Defaults, PLAIN),
    "scripted function": Case(lambda: Activated(scripted_swish), PLAIN),
    "autograd function": Case(lambda: Activated(Swish.apply), PLAIN),
    "checkpoint": Case(Checkpointed, PLAIN),
    "autocast": Case(Autocast, PLAIN),
    **FROZEN,
}
