"""Networks whose layers are no plain `nn.Conv2d` and `nn.Linear`: what each is, and the names of its layers."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, weight_norm


@dataclass(frozen=True)
class Case:
    """A network, and the names of its convolutions and linear layers in the order of their first call."""

    make: Callable[[], nn.Module]
    layers: tuple[str, ...]


class Frame(nn.Module):
    """Convolution, BatchNorm and ReLU, then `middle` on maps (N, 6, 8, 8), pooling and a linear layer."""

    def __init__(self, middle: nn.Module):
        super().__init__()
        self.stem, self.norm, self.middle, self.head = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), middle, nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.middle(F.relu(self.norm(self.stem(images)))).mean((2, 3)))


class Functional(nn.Module):
    """Every layer is a function, its parameters lie on the network itself."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(6, 3, 3, 3) * 0.3)
        self.gamma, self.beta = nn.Parameter(torch.rand(6) + 0.5), nn.Parameter(torch.randn(6) * 0.1)
        self.register_buffer("running_mean", torch.randn(6) * 0.1)
        self.register_buffer("running_var", torch.rand(6) + 0.5)
        self.head_weight, self.head_bias = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4))

    def forward(self, images: Tensor) -> Tensor:
        x = F.conv2d(images, self.kernel, padding=1)
        x = F.relu(F.batch_norm(x, self.running_mean, self.running_var, self.gamma, self.beta))
        return F.linear(x.mean((2, 3)), self.head_weight, self.head_bias)


class SamePadding(nn.Conv2d):
    """TensorFlow's padding, from the shape of what comes in."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for length, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            missing = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
            pads += [missing // 2, missing - missing // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Standardised(nn.Conv2d):
    """Weight standardisation: rows of mean 0 and deviation 1."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        deviation = self.weight.std((1, 2, 3), keepdim=True) + 1e-5
        return F.conv2d(x, (self.weight - mean) / deviation, self.bias, self.stride, self.padding)


class Gained(nn.Conv2d):
    """A learned gain of the weight, in front of it or behind."""

    def __init__(self, *sizes: int, gain_first: bool):
        super().__init__(*sizes)
        self.gain, self.gain_first = nn.Parameter(torch.tensor(1.7)), gain_first

    def forward(self, x: Tensor) -> Tensor:
        weight = self.gain * self.weight if self.gain_first else self.weight * self.gain
        return F.conv2d(x, weight, self.bias)


class Matrix(nn.Module):
    """x @ W + b on channels that come last."""

    def __init__(self):
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return (x.permute(0, 2, 3, 1) @ self.w + self.b).permute(0, 3, 1, 2)


class Tied(nn.Module):
    """Two convolutions that have one Parameter; their biases differ."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class Thrice(nn.Module):
    """One layer, called three times."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = F.relu(self.norm(self.layer(x)))
        return x


class Named(nn.Module):
    """A layer with a name that `fx.GraphModule` takes for something of its own."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name
        self.add_module(name, nn.Conv2d(3, 6, 3))
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.relu(self.get_submodule(self.name)(images)).mean((2, 3)))


class Blur(nn.Module):
    """A fixed filter, kept as a buffer."""

    def __init__(self):
        super().__init__()
        filter_ = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("filter", (filter_[:, None] * filter_ / 16).expand(6, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filter, stride=2, groups=6)


def framed(middle: Callable[[], nn.Module], *layers: str) -> Case:
    names = ("stem", *(f"middle.{layer}" if layer else "middle" for layer in layers or ("",)), "head")
    return Case(lambda: Frame(middle()), names)


def convolution() -> nn.Conv2d:
    return nn.Conv2d(6, 6, 3, padding=1)


WEIGHTS: dict[str, Case] = {
    "functions": Case(Functional, ("kernel", "head")),
    "same padding": framed(lambda: SamePadding(6, 6, 3, 2)),
    "padding by name": framed(lambda: nn.Conv2d(6, 6, (3, 2), padding="same", bias=False)),
    "reflecting": framed(lambda: nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")),
    "weight standardisation": framed(lambda: Standardised(6, 6, 3, padding=1)),
    "weight norm, old": framed(lambda: weight_norm(convolution())),
    "weight norm, new": framed(lambda: parametrizations.weight_norm(convolution())),
    "spectral norm, old": framed(lambda: nn.utils.spectral_norm(convolution())),
    "spectral norm, new": framed(lambda: parametrizations.spectral_norm(convolution())),
    "weight times gain": framed(lambda: Gained(6, 6, 3, gain_first=False)),
    "gain times weight": framed(lambda: Gained(6, 6, 3, gain_first=True)),
    "matrix": framed(Matrix, "w"),
    "tied": framed(Tied, "first", "second"),
    "called thrice": framed(lambda: Thrice(convolution()), "layer"),
    "standardised, called thrice": framed(lambda: Thrice(Standardised(6, 6, 3, padding=1)), "layer"),
    "matrix, called thrice": framed(lambda: Thrice(Matrix()), "layer.w"),
    "buffer": framed(Blur, "filter"),
    "name of a method": Case(lambda: Named("graph"), ("graph_", "head")),
    "name of an attribute": Case(lambda: Named("meta"), ("meta_", "head")),
}
