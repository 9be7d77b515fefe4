"""An export leaves none of torch's symbolic sizes behind, or a process of many runs would grow without a bound."""

import gc

import torch
from support.small_nets import SPEC, small_teacher
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from dfq.export import export_onnx
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate


def environments() -> int:
    gc.collect()
    return sum(type(each) is ShapeEnv for each in gc.get_objects())


def test_exports_leave_nothing_behind(tmp_path):
    student = calibrate(make_student(small_teacher(), make_scheme()), torch.randn(8, *SPEC.size)).eval()
    export_onnx(student, tmp_path / "first.onnx", SPEC)
    before = environments()
    for number in range(3):
        export_onnx(student, tmp_path / f"{number}.onnx", SPEC)
    assert environments() <= before
