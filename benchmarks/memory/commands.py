"""The commands whose memory and disk are measured."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torchvision.models import get_model

from dfq.checkpoint import save_checkpoint
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.registry import DIGITS_INPUT, build

WORK = Path("benchmarks/work/memory")
LARGE = InputSpec(size=(3, 224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD)
DIGITS = "dfq/digits_cnn"
SOAK = ("--methods", "zeroq,zeroq-kd,rgal", "--bits", "8,4", "--seeds", "5", "--images", "64", "--steps", "40")


@dataclass(frozen=True)
class Command:
    """A command on a network with random weights.

    Attributes:
        job: The command of dfq.
        arch: The network.
        options: The other words of the command line.
    """

    job: str
    arch: str
    options: str

    def name(self) -> str:
        return f"{self.job} {self.arch.rpartition('/')[2]} {self.options}"


COMMANDS = (
    Command("quantize", "torchvision/resnet50", "--bits 8"),
    Command("quantize", "torchvision/vit_b_16", "--bits 8"),
    Command("quantize", "torchvision/resnet50", "--bits 4 --budget 300"),
    Command("quantize", "torchvision/vit_b_16", "--bits 4 --budget 300"),
    Command("compare", DIGITS, " ".join(SOAK)),
)


@torch.no_grad()
def checkpoint(arch: str) -> Path:
    """Returns the file of a network with random weights, whose BatchNorm layers have seen noise."""
    path = WORK / f"{arch.rpartition('/')[2]}.pt"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    spec = DIGITS_INPUT if arch == DIGITS else LARGE
    model: nn.Module = build(arch) if arch == DIGITS else get_model(arch.rpartition("/")[2], weights=None)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # The statistics are then those of the images below.
    model.train()(torch.randn(16, *spec.size))
    save_checkpoint(path, model.eval(), arch, spec)
    return path
