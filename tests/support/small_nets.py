"""Networks small enough to test on, each with one difficulty."""

import copy
from functools import cache

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.graph.capture.capture import capture
from dfq.graph.folding.canonical import folded
from dfq.images.input_spec import InputSpec
from dfq.teacher import Teacher

SPEC = InputSpec(size=(3, 16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Residual(nn.Module):
    """Stem, max pooling, one residual block, global pooling, classifier."""

    def __init__(self, classes: int = 5):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.conv1, self.norm1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.dropout, self.head = nn.Dropout(0.3), nn.Linear(8, classes)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(images))), 2)
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        x = F.relu(x + y)
        return self.head(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class PreActivation(nn.Module):
    """BatchNorm in front of the convolution, behind a concatenation: cannot be folded."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        x = torch.cat([self.first(images), self.second(images)], 1)
        return self.head(self.last(F.relu(self.norm(x))).mean((2, 3)))


def plain(normalize: bool = False) -> nn.Sequential:
    """Without residuals; without BatchNorm unless asked for."""
    norm: nn.Module = nn.BatchNorm2d(6) if normalize else nn.Identity()
    first, second = [nn.Conv2d(3, 6, 3), norm, nn.ReLU6()], [nn.Conv2d(6, 6, 3), nn.ReLU6()]
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


def smooth_images(count: int, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normalised images (count, *size), unlike noise."""
    coarse = torch.randn(count, size[0], 4, 4, generator=generator) * 0.7
    return F.interpolate(coarse, size[1:], mode="bilinear")


def lived_in(model: nn.Module, seed: int = 0, size: tuple[int, ...] = SPEC.size) -> nn.Module:
    """The model with BatchNorm statistics, factors and offsets as if it had been trained; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    images = smooth_images(64, size, generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def small_teacher(model: nn.Module | None = None) -> Teacher:
    torch.manual_seed(0)
    if model is not None:
        return Teacher(lived_in(model), SPEC)
    teacher, random_state = _residual_teacher()
    torch.set_rng_state(random_state)
    return copy.deepcopy(teacher)


@cache
def _residual_teacher() -> tuple[Teacher, Tensor]:
    """Captured once per process, and the state of torch's random numbers then."""
    teacher = Teacher(lived_in(Residual()), SPEC)
    assert teacher.traced is not None  # folded once, too
    return teacher, torch.get_rng_state()


def canonical(model: nn.Module, spec: InputSpec = SPEC) -> fx.GraphModule:
    """The network as a graph of layers, BatchNorm folded."""
    return copy.deepcopy(folded(capture(model.eval(), spec), spec))


def trainable(model: nn.Module, spec: InputSpec = SPEC) -> fx.GraphModule:
    """A graph that trains the model itself."""
    return capture(model, spec, trains=True)
