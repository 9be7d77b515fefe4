"""Networks whose blocks are known, written in different ways."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Flattening(nn.Module):
    """Stem, two residual blocks, a linear layer that reads all pixels."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8)
        self.body, self.head = nn.Sequential(Residual(8), Residual(8)), nn.Linear(8 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.flatten(self.body(F.relu(self.norm(self.stem(images)))), 1))


class Viewing(Flattening):
    """The same, with the number of images asked for at the beginning."""

    def forward(self, images: Tensor) -> Tensor:
        batch = images.size(0)
        x = self.body(F.relu(self.norm(self.stem(images))))
        return self.head(x.view(batch, -1))


class Encoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm1(tokens)
        tokens = tokens + self.attention(x, x, x, need_weights=False)[0]
        return tokens + self.narrow(F.gelu(self.wide(self.norm2(tokens))))


class Transformer(nn.Module):
    """A class token, expanded to the number of images, and positions."""

    def __init__(self, depth: int = 2, width: int = 8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.1)
        self.layers = nn.ModuleList(Encoder(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], 1) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(self.norm(tokens)[:, 0])


NETWORKS = {"flattening": Flattening, "viewing": Viewing, "transformer": Transformer}
