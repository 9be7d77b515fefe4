"""The networks that the benchmarks measure on: checkpoints of the data folder, and digits, which needs no folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from dfq.checkpoint import load_checkpoint
from dfq.images.batch import Batch
from dfq.images.labelled import Labelled, read_labelled
from dfq.jobs.demo import digits, save_teacher
from dfq.system.freed_memory import keep_freed_memory
from dfq.system.progress import Silent
from dfq.teacher import Teacher

DIGITS = "digits"  # the teacher of `dfq demo`, which is trained here
DIGITS_CHECKPOINT = Path("benchmarks/work/digits.pt")


@dataclass(frozen=True)
class Net:
    """One network of the shared data folder, or of the repository; paths are relative to the data folder.

    Attributes:
        checkpoint: The file of the weights.
        arch: A name of the registry, or file:factory within the folder.
        test: The labelled images.
        train: Unlabelled real images, with which agreement has small error bars; None stands for those of `test`.
        input: Fields of the normalisation, where the checkpoint's file does not say it.
        in_repository: Whether the checkpoint lies in the repository instead.
    """

    checkpoint: str
    arch: str
    test: str
    train: str | None = None
    input: tuple[tuple[str, tuple[float, ...]], ...] = ()
    in_repository: bool = False


CIFAR = {"test": "cifar10/test_1000.npz", "train": "cifar10/train_10000.npz"}
IMAGENET = {
    "test": "imagenet/labelled_500.npz",
    "input": (("input_size", (3, 224, 224)), ("mean", (0.5, 0.5, 0.5)), ("std", (0.5, 0.5, 0.5))),
}
TEACHERS = "benchmarks/teachers"
NETS = {
    "resnet20": Net("cifar10/resnet20.th", "dfq/resnet20", **CIFAR),
    "resnet56": Net("cifar10/resnet56.th", "dfq/resnet56", **CIFAR),
    "mobilenet_v2": Net("imagenet/mobilenet_v2.pt", "imagenet/mobilenet.py:mobilenet_v2", **IMAGENET),
    "efficientnet_lite0": Net("imagenet/efficientnet_lite0.pt", "timm/tf_efficientnet_lite0", **IMAGENET),
    "compact_vit": Net(
        f"{TEACHERS}/compact_vit.pt", f"{TEACHERS}/networks.py:compact_vit", in_repository=True, **CIFAR
    ),
    "compact_convnext": Net(
        f"{TEACHERS}/compact_convnext.pt", f"{TEACHERS}/networks.py:compact_convnext", in_repository=True, **CIFAR
    ),
    "mobilenet_v1_0.25": Net("imagenet/mobilenet_v1_0.25.pt", "imagenet/mobilenet.py:mobilenet_v1_025", **IMAGENET),
}


class Data:
    """The shared data folder, read as networks and images.

    Args:
        folder: The data folder; with None there is only the network `digits`.
        device: The device of the networks and images.
    """

    def __init__(self, folder: Path | None, device: str = "cpu"):
        self._folder, self.device = folder, device
        keep_freed_memory()  # as the command line does

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise click.UsageError("this network needs --data")
        return self._folder

    def arch(self, net: str) -> str | None:
        """Returns the name of the architecture; None means that the checkpoint says it."""
        if net == DIGITS:
            return None
        arch = NETS[net].arch
        return arch if ".py:" not in arch or NETS[net].in_repository else str(self.folder / arch)

    def teacher(self, net: str) -> Teacher:
        """Returns the network as a teacher."""
        if net == DIGITS:
            loaded = load_checkpoint(_digits_checkpoint())
        else:
            path = Path(NETS[net].checkpoint) if NETS[net].in_repository else self.folder / NETS[net].checkpoint
            loaded = load_checkpoint(path, arch=self.arch(net), **dict(NETS[net].input))
        return Teacher(loaded.model, loaded.input_spec, self.device, arch=loaded.arch)

    def labelled(self, net: str, teacher: Teacher) -> Labelled:
        """Returns the labelled test images of the network."""
        if net == DIGITS:
            return digits("held-out")
        return read_labelled(self.folder / NETS[net].test, teacher.input_spec, teacher.num_classes)

    def real(self, net: str, teacher: Teacher, count: int = 10_000) -> Batch:
        """Returns at most `count` unlabelled real images, normalised."""
        if net == DIGITS:
            pixels = digits("training").images[:count]
        else:
            file = NETS[net].train or NETS[net].test
            pixels = np.load(self.folder / file, allow_pickle=False)["images"][:count]
        return Batch(normalized(teacher, pixels).contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def agreement(self, net: str, teacher: Teacher, student: nn.Module) -> float:
        """Returns the top-1 agreement of student and teacher on the unlabelled real images, in [0, 1]."""
        batches = self.real(net, teacher).images.split(250)
        same = sum(int((student(b).argmax(1) == teacher(b).argmax(1)).sum()) for b in batches)
        return same / sum(len(b) for b in batches)


def accuracy_on(labelled: Labelled, teacher: Teacher) -> Callable[[nn.Module], float]:
    """Returns a function that measures the accuracy of a network on those images, as the teacher expects them."""
    images, labels = normalized(teacher, labelled.images), torch.from_numpy(labelled.labels).to(teacher.device)

    def accuracy(network: nn.Module) -> float:
        with torch.no_grad():
            answers = torch.cat([network(part).argmax(1) for part in images.split(250)])
        return int((answers == labels).sum()) / len(labels)

    return accuracy


def normalized(teacher: Teacher, pixels: np.ndarray) -> Tensor:
    """Returns uint8 pixels (N, H, W, C) as the normalised images (N, C, H, W) that the teacher reads."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().to(teacher.device) / 255
    return teacher.input_spec.normalize(images)


def _digits_checkpoint() -> Path:
    if not DIGITS_CHECKPOINT.exists():
        DIGITS_CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
        save_teacher(DIGITS_CHECKPOINT, 0, Silent())
    return DIGITS_CHECKPOINT
