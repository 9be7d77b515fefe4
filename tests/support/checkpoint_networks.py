"""A small VGG-like network that tests of checkpoints save in all the ways that people do."""

from collections import OrderedDict

import torch
from torch import nn

from dfq.checkpoint import load_checkpoint

VGG = """
import torch
from torch import nn

class Vgg(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(16, num_classes))

    def forward(self, images):
        return self.classifier(self.features(images))

class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = Vgg()

    def forward(self, images):
        return self.module(images)

def parallel():
    return nn.DataParallel(Vgg())

def parallel_features():
    network = Vgg()
    network.features = nn.DataParallel(network.features)
    return network

def compiled():
    return torch.compile(Vgg())

def averaged():
    return torch.optim.swa_utils.AveragedModel(Vgg())

def half():
    return Vgg().half()
"""
HALVES = {"input_size": (3, 16, 16), "mean": 0.5, "std": 0.5}


def vgg(seed: int = 0, name: str = "Vgg") -> nn.Module:
    """A network of that factory, with weights of its own."""
    torch.manual_seed(seed)
    namespace: dict = {}
    exec(VGG, namespace)
    return namespace[name]().eval()


def write_code(folder) -> str:
    (folder / "net.py").write_text(VGG)
    return f"{folder / 'net.py'}:Vgg"


def under(prefix: str, weights) -> "OrderedDict":
    return OrderedDict((prefix + name, tensor) for name, tensor in weights.items())


def load(path, arch, **options):
    return load_checkpoint(path, arch=arch, **HALVES, **options)


def assert_same(loaded, network) -> None:
    images = torch.rand(3, *loaded.input_spec.size)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(images), network(images), atol=0, rtol=0)
