"""A small teacher, its calibrated student, and images for both."""

import torch
from support.small_nets import SPEC, lived_in
from torch import nn

from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher


def images(count: int = 32) -> torch.Tensor:
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, SPEC.size[1:], mode="bilinear")


def pair(make, bits: int = 3, scheme: str = "deploy"):
    torch.manual_seed(0)
    teacher = Teacher(lived_in(make()), SPEC)
    student = calibrate(make_student(teacher, make_scheme(scheme, bits=bits)), images()).eval()
    return teacher, student
