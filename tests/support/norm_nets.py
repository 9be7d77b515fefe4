"""Networks without BatchNorm: LayerNorm, GroupNorm and RMSNorm in front of matrix layers, with some loud channels."""

import torch
from support.small_nets import SPEC
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.teacher import Teacher

LOUD = 16.0  # times as wide as the other channels of a normalization


def with_loud_channels(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with one loud channel in each normalization, and with offsets; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.data[torch.randint(len(parameter), (), generator=generator)] *= LOUD
        if "norm" in name and name.endswith("bias"):
            parameter.data.copy_(torch.randn(len(parameter), generator=generator))
    return model.eval()


def norm_teacher(model: type[nn.Module]) -> Teacher:
    torch.manual_seed(0)
    return Teacher(with_loud_channels(model()), SPEC)


class Tokens(nn.Module):
    """One block of a transformer behind a class token; query and key have layers of their own, which read one norm."""

    def __init__(self):
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, 24, 4, stride=4), nn.Parameter(torch.randn(1, 1, 24))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(24) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(24, 24) for _ in range(3))
        self.out, self.up, self.down = nn.Linear(24, 24), nn.Linear(24, 48), nn.Linear(48, 24)
        self.head = nn.Linear(24, 5)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        y = self.norm1(x)
        heads = (layer(y).unflatten(-1, (2, 12)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        x = x + self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x)[:, 0])


class Merging(nn.Module):
    """Patches are merged behind a norm, shifted and cut into windows, as in Swin; the reader has no bias."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 12, 2, stride=2), nn.LayerNorm(12)
        self.reduction, self.head = nn.Linear(48, 16, bias=False), nn.Linear(16, 5)

    def forward(self, images):
        x = torch.roll(self.norm(self.patches(images).permute(0, 2, 3, 1)), (-1, -1), (1, 2))
        x = x.reshape(-1, 4, 2, 4, 2, 12).permute(0, 1, 3, 4, 2, 5).reshape(-1, 4, 4, 48)
        return self.head(F.gelu(self.reduction(x)).mean((1, 2)))


class Groups(nn.Module):
    """GroupNorm in front of a ReLU and a padded convolution, and in front of an unpadded one."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm1, self.norm2 = nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.GroupNorm(2, 16)
        self.padded, self.bare, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3), nn.Linear(16, 5)

    def forward(self, images):
        x = self.padded(F.relu(self.norm1(self.stem(images))))
        return self.head(F.relu(self.bare(self.norm2(x))).mean((2, 3)))


class SpelledOut(nn.Module):
    """LayerNorm operator by operator, as old files have it, and RMSNorm, which has no offset."""

    def __init__(self):
        super().__init__()
        self.patches, self.inner, self.head = nn.Conv2d(3, 24, 4, stride=4), nn.Linear(24, 24), nn.Linear(24, 5)
        self.norm_weight, self.norm_bias = nn.Parameter(torch.ones(24)), nn.Parameter(torch.zeros(24))
        self.rms_norm = nn.RMSNorm(24)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        centred = x - x.mean(-1, keepdim=True)
        x = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * self.norm_weight + self.norm_bias
        return self.head(self.rms_norm(F.gelu(self.inner(x)))).mean(1)


class PostNorm(nn.Module):
    """Matrix layers read the residual stream itself, because norms stand behind the branches, as in Swin v2."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm1, self.norm2 = nn.Conv2d(3, 24, 4, stride=4), nn.LayerNorm(24), nn.LayerNorm(24)
        self.inner, self.other, self.head = nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 5)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = x + self.norm1(self.inner(x))
        x = x + self.norm2(self.other(x))
        return self.head(x.mean(1))


def spread_images(count: int = 32, seed: int = 2) -> Tensor:
    """Normalised images of different brightness and contrast."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=generator) * torch.rand(count, 1, 1, 1, generator=generator)
    brightness = torch.randn(count, 3, 1, 1, generator=generator) * 0.3
    return F.interpolate(coarse, SPEC.size[1:], mode="bilinear") + brightness
