"""The small teacher of `dfq demo`, a CNN with BatchNorm for scikit-learn's 8 × 8 handwritten digits."""

import torch
from torch import nn


class DigitsCnn(nn.Module):
    """A stem, one residual block and one strided convolution; images (N, 1, 8, 8) → logits (N, num_classes)."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(64)
        self.relu4 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        stem = self.relu1(self.bn1(self.conv1(images)))
        features = self.relu2(self.bn2(self.conv2(stem)))
        features = self.relu3(self.bn3(self.conv3(features)) + stem)
        features = self.relu4(self.bn4(self.conv4(features)))
        return self.linear(torch.flatten(self.pool(features), 1))


def digits_cnn(num_classes: int = 10) -> DigitsCnn:
    """Returns the digits net, 38 thousand parameters; images (N, 1, 8, 8) → logits (N, num_classes)."""
    return DigitsCnn(num_classes)
