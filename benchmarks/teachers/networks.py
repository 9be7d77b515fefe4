"""Architectures of the teachers without BatchNorm: timm's own classes, at a size for images of 32×32 pixels.

`compact_vit` is a vision transformer whose patches come from two strided convolutions instead of one, which learns
better from few images (Hassani et al., 2021, arXiv 2104.05704). `compact_convnext` is a ConvNeXt of four stages, the
first of which keeps all pixels.
"""

from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

SIDE = 32  # of the images, in pixels


class ConvPatches(nn.Module):
    """Turns images (N, 3, H, W) into tokens (N, H / 4 · W / 4, dim); it has the arguments of timm's `PatchEmbed`."""

    def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, **_: object):
        super().__init__()
        self.num_patches = (img_size // patch_size) ** 2
        self.first = nn.Conv2d(in_chans, embed_dim // 2, 3, stride=2, padding=1)
        self.act = nn.GELU()
        self.second = nn.Conv2d(embed_dim // 2, embed_dim, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.act(self.first(images))).flatten(2).transpose(1, 2)


def compact_vit(num_classes: int = 10, drop_path: float = 0.0) -> nn.Module:
    """Returns a transformer with a class token: 64 patches, 6 blocks of 4 heads, 128 channels, 0.9 million weights."""
    return VisionTransformer(
        img_size=SIDE, patch_size=4, num_classes=num_classes, embed_dim=128, depth=6, num_heads=4, mlp_ratio=2,
        embed_layer=ConvPatches, drop_path_rate=drop_path,
    )  # fmt: skip


def compact_convnext(num_classes: int = 10, drop_path: float = 0.0) -> nn.Module:
    """Returns a ConvNeXt of four stages with 32, 64, 128 and 192 channels, 0.8 million weights."""
    return ConvNeXt(
        num_classes=num_classes, depths=(1, 2, 2, 1), dims=(32, 64, 128, 192), patch_size=1,
        drop_path_rate=drop_path,
    )  # fmt: skip
