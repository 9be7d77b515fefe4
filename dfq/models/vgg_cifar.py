"""VGG-11 for CIFAR: Simonyan and Zisserman 2015, with BatchNorm and one linear layer as classifier.

Module names follow github.com/HobbitLong/RepDistiller (`block0` … `block4`, `classifier`). As there, the
fourth pooling is left out at 32 × 32, so that the last convolutions see 4 × 4 pixels.
"""

import torch
import torch.nn.functional as F
from torch import nn

VGG11_WIDTHS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VggCifar(nn.Module):
    """Five blocks of 3×3 convolutions with BatchNorm; images (N, 3, 32, 32) → logits (N, num_classes)."""

    def __init__(self, widths: tuple[tuple[int, ...], ...], num_classes: int):
        super().__init__()
        channels = (3, *(block[-1] for block in widths))
        self.block0 = _block(channels[0], widths[0])
        self.block1 = _block(channels[1], widths[1])
        self.block2 = _block(channels[2], widths[2])
        self.block3 = _block(channels[3], widths[3])
        self.block4 = _block(channels[4], widths[4])
        self.halve = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels[5], num_classes)
        self.apply(_initialize)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.halve(F.relu(self.block0(images)))
        features = self.halve(F.relu(self.block1(features)))
        features = self.halve(F.relu(self.block2(features)))
        features = F.relu(self.block3(features))
        features = F.relu(self.block4(features))
        return self.classifier(torch.flatten(self.pool(features), 1))


def _block(channels_in: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in widths:
        layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
        channels_in = channels
    return nn.Sequential(*layers[:-1])  # `forward` applies the last ReLU, as the published nets do


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def vgg11_cifar(num_classes: int = 10) -> VggCifar:
    """Returns VGG-11 with BatchNorm, 9.2 M parameters; images (N, 3, 32, 32) → logits (N, num_classes)."""
    return VggCifar(VGG11_WIDTHS, num_classes)
