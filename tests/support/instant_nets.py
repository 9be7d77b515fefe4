"""Networks for the steps that need no training: every kind of layer, with and without BatchNorm."""

import torch
from support.small_nets import SPEC
from torch import Tensor, nn
from torch.nn import functional as F


class Mixed(nn.Module):
    """Without BatchNorm and without residuals: ordinary, depthwise, 1×1 and grouped convolutions, some without bias."""

    def __init__(self):
        super().__init__()
        self.conv, self.depthwise = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, groups=8)
        self.pointwise, self.grouped = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 6, 3, groups=3, bias=False)
        self.hidden, self.head = nn.Linear(6 * 2 * 2, 10), nn.Linear(10, 5, bias=False)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.conv(images)), 2)
        x = F.avg_pool2d(F.relu(self.pointwise(F.relu(self.depthwise(x)))), 2, padding=1)
        x = F.relu(self.grouped(x))
        return self.head(torch.relu(self.hidden(x.view(x.size(0), -1))))


class Normalized(nn.Module):
    """BatchNorm behind every convolution: a depthwise layer, an addition, a concatenation, no pooling but the last."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.branch, self.last = nn.Conv2d(16, 16, 1, bias=False), nn.Conv2d(32, 24, 3, bias=False)
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(16) for _ in range(3))
        self.norm4, self.head = nn.BatchNorm2d(24), nn.Linear(24, 5)

    def forward(self, images):
        x = F.relu(self.norm1(self.stem(images)))
        y = F.relu6(self.norm2(self.depthwise(x)))
        x = torch.cat([F.relu(x + self.norm3(self.branch(y))), y], 1)
        return self.head(F.relu(self.norm4(self.last(x))).mean((2, 3)))


def noise(count: int = 64, seed: int = 1) -> Tensor:
    """Gaussian images within the range of pixels, which is ±2 with `SPEC`."""
    return (torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(seed)) * 0.7).clamp(-2, 2)


def smooth(count: int = 64, seed: int = 2) -> Tensor:
    """Images whose neighbouring pixels are alike."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, SPEC.size[1:], mode="bilinear")


def fitted_to_noise(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with random BatchNorm factors and offsets, and the statistics of Gaussian images; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, -1.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.5, generator=generator)
    with torch.no_grad():
        model.train()(noise(256))
    return model.eval()
