"""CIFAR ResNets: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.

Module names follow github.com/akamaster/pytorch_resnet_cifar10 (`resnet20` … `resnet110`, shortcuts without
parameters) and the data-free-distillation repositories (`resnet18_cifar`, `resnet34_cifar`: four stages,
1×1 convolutions as shortcuts), so that checkpoints of both load. Images (N, 3, H, W), 32 × 32 in the papers.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class PaddedShortcut(nn.Module):
    """Option A of the paper: it keeps every second pixel and adds channels of zeros on both sides."""

    def __init__(self, new_channels: int):
        super().__init__()
        self.before = new_channels // 2
        self.after = new_channels - self.before

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


def padded_shortcut(channels_in: int, channels: int, stride: int) -> nn.Module:
    if stride == 1 and channels_in == channels:
        return nn.Sequential()
    return PaddedShortcut(channels - channels_in)


def projected_shortcut(channels_in: int, channels: int, stride: int) -> nn.Module:
    """Returns option B of the paper, a strided 1×1 convolution with BatchNorm."""
    if stride == 1 and channels_in == channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm, whose result is added to that of `shortcut`."""

    def __init__(self, channels_in: int, channels: int, stride: int, shortcut: nn.Module):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.bn2(self.conv2(features))
        return F.relu(features + self.shortcut(images))


class CifarResNet(nn.Module):
    """A 3×3 stem without pooling, then one stage per entry of `widths`; all stages but the first halve the image.

    Args:
        blocks: Number of `BasicBlock`s in each stage.
        widths: Number of channels in each stage; the stem has as many as the first.
        make_shortcut: Function from the channels in, the channels out and the stride to the module beside the
            convolutions of a block.
        num_classes: Number of logits.
    """

    def __init__(self, blocks: Sequence[int], widths: Sequence[int], make_shortcut, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stage_names = [f"layer{number}" for number in range(1, len(widths) + 1)]
        channels_in = widths[0]
        for name, count, channels in zip(self.stage_names, blocks, widths, strict=True):
            stride = 1 if name == "layer1" else 2
            setattr(self, name, _stage(count, channels_in, channels, stride, make_shortcut))
            channels_in = channels
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels_in, num_classes)
        self.apply(_initialize)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = F.relu(self.bn1(self.conv1(images)))
        for name in self.stage_names:
            features = getattr(self, name)(features)
        return self.linear(torch.flatten(self.pool(features), 1))


def _stage(count: int, channels_in: int, channels: int, stride: int, make_shortcut) -> nn.Sequential:
    first = BasicBlock(channels_in, channels, stride, make_shortcut(channels_in, channels, stride))
    rest = (BasicBlock(channels, channels, 1, make_shortcut(channels, channels, 1)) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def _narrow(depth: int, num_classes: int) -> CifarResNet:
    blocks = (depth - 2) // 6
    return CifarResNet([blocks] * 3, [16, 32, 64], padded_shortcut, num_classes)


def resnet20(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-20, 0.27 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return _narrow(20, num_classes)


def resnet32(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-32, 0.46 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return _narrow(32, num_classes)


def resnet44(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-44, 0.66 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return _narrow(44, num_classes)


def resnet56(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-56, 0.85 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return _narrow(56, num_classes)


def resnet110(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-110, 1.7 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return _narrow(110, num_classes)


def resnet18_cifar(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-18 with a 3×3 stem, 11.2 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return CifarResNet([2, 2, 2, 2], [64, 128, 256, 512], projected_shortcut, num_classes)


def resnet34_cifar(num_classes: int = 10) -> CifarResNet:
    """Returns ResNet-34 with a 3×3 stem, 21.3 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return CifarResNet([3, 4, 6, 3], [64, 128, 256, 512], projected_shortcut, num_classes)
