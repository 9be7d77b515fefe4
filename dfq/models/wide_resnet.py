"""Wide ResNets: Zagoruyko and Komodakis 2016, "Wide Residual Networks" (pre-activation).

Module names follow github.com/xternalz/WideResNet-pytorch, which the data-free-distillation repositories use.
Images (N, 3, H, W), 32 × 32 in the paper. Dropout is left out: the published teachers have none.
"""

import torch
import torch.nn.functional as F
from torch import nn


class PreActivationBlock(nn.Module):
    """BatchNorm, ReLU and a 3×3 convolution, twice; where the shape changes, the shortcut begins at the first ReLU."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.same_shape = channels_in == channels
        if not self.same_shape:
            self.convShortcut = nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        activated = F.relu(self.bn1(images))
        shortcut = images if self.same_shape else self.convShortcut(activated)
        features = F.relu(self.bn2(self.conv1(activated)))
        return shortcut + self.conv2(features)


class Group(nn.Module):
    """A sequence of `count` blocks under the name `layer`, as in the published checkpoints."""

    def __init__(self, count: int, channels_in: int, channels: int, stride: int):
        super().__init__()
        first = PreActivationBlock(channels_in, channels, stride)
        rest = (PreActivationBlock(channels, channels, 1) for _ in range(count - 1))
        self.layer = nn.Sequential(first, *rest)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


class WideResNet(nn.Module):
    """WRN-`depth`-`width`: a 3×3 stem and three stages of (depth − 4) / 6 blocks."""

    def __init__(self, depth: int, width: int, num_classes: int):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Group(blocks, 16, 16 * width, 1)
        self.block2 = Group(blocks, 16 * width, 32 * width, 2)
        self.block3 = Group(blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, num_classes)
        self.apply(_initialize)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.block3(self.block2(self.block1(self.conv1(images))))
        features = self.pool(F.relu(self.bn1(features)))
        return self.fc(torch.flatten(features, 1))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def wrn40_2(num_classes: int = 10) -> WideResNet:
    """Returns WRN-40-2, 2.2 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return WideResNet(40, 2, num_classes)


def wrn40_1(num_classes: int = 10) -> WideResNet:
    """Returns WRN-40-1, 0.57 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return WideResNet(40, 1, num_classes)


def wrn16_2(num_classes: int = 10) -> WideResNet:
    """Returns WRN-16-2, 0.69 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return WideResNet(16, 2, num_classes)


def wrn16_1(num_classes: int = 10) -> WideResNet:
    """Returns WRN-16-1, 0.18 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return WideResNet(16, 1, num_classes)
