"""A small teacher, its calibrated student, images for both, and what is done to them."""

import torch
from support.small_nets import SPEC, lived_in
from torch import Tensor, nn

from dfq.graph.outputs import as_tuple
from dfq.post_training.reconstruction.blocks import Block
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.progress import Silent
from dfq.teacher import Teacher


def images(count: int = 32) -> torch.Tensor:
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, SPEC.size[1:], mode="bilinear")


def pair(make, bits: int = 3, scheme: str = "deploy"):
    torch.manual_seed(0)
    teacher = Teacher(lived_in(make()), SPEC)
    student = calibrate(make_student(teacher, make_scheme(scheme, bits=bits)), images()).eval()
    return teacher, student


@torch.no_grad()
def run_in_turn(blocks: list[Block], images: Tensor, part: str = "student") -> dict[str, Tensor]:
    """The outputs of all blocks, of the student or the teacher, by the name of the student's node."""
    values = {blocks[0].inputs[0]: images}
    for block in blocks:
        outputs = getattr(block, part)(*(values[name] for name in block.inputs))
        values |= zip(block.outputs, as_tuple(outputs), strict=True)
    return values


class Killed(Exception):
    pass


class KillsAtBlock(Silent):
    """Raises where the block of that number begins, counted from 1."""

    def __init__(self, number: int):
        self.number = number

    def task(self, description, total, seconds=None):
        number = self.number

        class Counting:
            def __init__(self):
                self.named = 0

            def __enter__(self):
                return self

            def __exit__(self, *_):
                return False

            def advance(self, steps=1, **figures):
                pass

            def name(self, part):
                self.named += 1
                if self.named == number:
                    raise Killed(part)

        return Counting()
