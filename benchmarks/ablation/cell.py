"""What a cell of the benchmark is, and how much work it gets."""

from dataclasses import dataclass

from benchmarks.common.nets import NETS

SCHEME = "paper-qat"


@dataclass(frozen=True)
class Work:
    """What every cell of a network gets.

    Attributes:
        images: The number of images to learn from.
        steps: The number of student steps.
        jury: The number of images of each of the jury's two kinds.
        paired: The number of images in pairs on which relations are measured.
    """

    images: int
    steps: int
    jury: int
    paired: int = 128


SMALL = Work(images=512, steps=300, jury=256)
LARGE = Work(images=256, steps=150, jury=64)  # for images of 224×224 pixels


def work_of(net: str) -> Work:
    """Returns the work of the cells of a network."""
    return LARGE if net in NETS and NETS[net].test.startswith("imagenet") else SMALL


@dataclass(frozen=True)
class Cell:
    """One student.

    Attributes:
        arm: The name of the arm.
        net: The name of the network.
        bits: The width of weights and activations.
        seed: The seed of images and training.
        method: All that the arm varies, in words.
    """

    arm: str
    net: str
    bits: int
    seed: int
    method: str

    def name(self) -> str:
        """Returns the words that tell the cell from others."""
        return f"{self.arm} seed {self.seed}"
