"""Small networks whose outputs are no logits of classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.images.input_spec import InputSpec

SPEC = InputSpec(size=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)


class Body(nn.Module):
    """Two convolutions with BatchNorm; images (N, 3, 16, 16) → features (N, 8, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm2(self.second(self.norm1(self.first(images)).relu())).relu()


class Segmenter(nn.Module):
    """Logits of four classes for each pixel."""

    def __init__(self):
        super().__init__()
        self.body, self.head = Body(), nn.Conv2d(8, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.head(self.body(images)), scale_factor=2.0, mode="bilinear")


class Detector(nn.Module):
    """A dictionary: features that a head reads, too, a list with two heads and None, and whole numbers."""

    def __init__(self):
        super().__init__()
        self.body, self.boxes, self.classes = Body(), nn.Conv2d(8, 4, 3, padding=1), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> dict:
        features = self.body(images)
        boxes = self.boxes(features).flatten(2).transpose(1, 2)
        classes = self.classes(features.mean((2, 3)))
        return {"features": features, "heads": [boxes, None, classes], "answers": classes.argmax(1)}


class Embedding(nn.Module):
    """An embedding of length 1."""

    def __init__(self):
        super().__init__()
        self.body, self.head = Body(), nn.Linear(8, 6)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.head(self.body(images).mean((2, 3))))


@torch.no_grad()
def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Returns the network in evaluation mode, with statistics of random images and weights of sane scale."""
    torch.manual_seed(seed)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    network.train()
    for _ in range(4):
        network(torch.randn(16, *SPEC.size))
    return network.eval()
