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


class Twice(nn.Sequential):
    """Two convolutions, each with a BatchNorm and ReLU."""

    def __init__(self, inputs: int, width: int, stride: int = 1):
        layers = [nn.Conv2d(inputs, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU())


class UNet(nn.Module):
    """Two levels, whose maps are carried over to the decoder; it gives a map of the size of the images."""

    def __init__(self, widths: tuple[int, int, int] = (6, 8, 8)):
        super().__init__()
        fine, middle, coarse = widths
        self.fine, self.middle, self.coarse = Twice(3, fine), Twice(fine, middle), Twice(middle, coarse)
        self.to_middle, self.to_fine = Twice(coarse + middle, middle), Twice(middle + fine, fine)
        self.head = nn.Conv2d(fine, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.fine(images)
        middle = self.middle(F.max_pool2d(fine, 2))
        coarse = self.coarse(F.max_pool2d(middle, 2))
        x = self.to_middle(torch.cat([F.interpolate(coarse, scale_factor=2.0), middle], 1))
        return self.head(self.to_fine(torch.cat([F.interpolate(x, scale_factor=2.0), fine], 1)))


class Pyramid(nn.Module):
    """Three levels of features, a top-down path, and two heads that run on each level."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.stages = nn.ModuleList(nn.Sequential(Residual(6), Twice(6, 6, stride)) for stride in (1, 2, 2))
        self.lateral = nn.ModuleList(nn.Conv2d(6, width, 1) for _ in range(3))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.classes = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, 4, 3, 1, 1))
        self.boxes = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, 8, 1))

    def levels(self, images: Tensor) -> list[Tensor]:
        x, stages, levels = F.relu(self.stem(images)), [], []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        for number in (2, 1, 0):
            side = self.lateral[number](stages[number])
            x = side if number == 2 else side + F.interpolate(x, scale_factor=2.0)
            levels.append(self.smooth[number](x))
        return levels

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        levels = self.levels(images)
        return (*(self.classes(level) for level in levels), *(self.boxes(level) for level in levels))


class TwoHeads(nn.Module):
    """One trunk; logits, and a map of the classes of all positions beside the map that they come from."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(Twice(3, 8, 2), Residual(8))
        self.first, self.logits = Twice(8, 8, 2), nn.Linear(8, 5)
        self.second, self.map = Twice(8, 8), nn.Conv2d(8, 3, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.trunk(images)
        logits = self.logits(self.first(x).mean((2, 3)))
        found = self.map(self.second(x))
        return logits, found, found.argmax(1)


class EarlyOutput(nn.Module):
    """A chain that also gives a feature map of its first residual block."""

    def __init__(self):
        super().__init__()
        self.stem, self.body, self.more = Twice(3, 8, 2), Residual(8), nn.Sequential(Residual(8), Twice(8, 8, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        early = self.body(self.stem(images))
        return {"early": early, "logits": self.head(self.more(early).mean((2, 3)))}


BRANCHED = {"u-net": UNet, "pyramid": Pyramid, "two heads": TwoHeads, "early output": EarlyOutput}
