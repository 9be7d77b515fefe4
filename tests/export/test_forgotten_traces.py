"""An export leaves nothing of torch's traces behind, or a process of many runs would grow without a bound."""

import gc
import linecache

import pytest
import torch
from support.small_nets import SPEC, small_teacher
from torch import fx, nn
from torch.fx import graph_module
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from dfq.export import export_float_onnx, export_onnx
from dfq.export.forgotten_traces import forgetting_sources
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate


def environments() -> int:
    gc.collect()
    return sum(type(each) is ShapeEnv for each in gc.get_objects())


def sources() -> tuple[int, int]:
    return len(graph_module._loader.eval_cache), sum(name.startswith("<eval_with_key>") for name in linecache.cache)


def calibrated_student():
    return calibrate(make_student(small_teacher(), make_scheme()), torch.randn(8, *SPEC.size)).eval()


def test_exports_leave_no_sizes_behind(tmp_path):
    student = calibrated_student()
    export_onnx(student, tmp_path / "first.onnx", SPEC)
    before = environments()
    for number in range(3):
        export_onnx(student, tmp_path / f"{number}.onnx", SPEC)
    assert environments() <= before


def test_exports_leave_no_sources_behind(tmp_path):
    student, teacher = calibrated_student(), small_teacher()
    before = sources()
    export_onnx(student, tmp_path / "student.onnx", SPEC)
    export_float_onnx(teacher.model, tmp_path / "float.onnx", SPEC)
    assert sources() == before


def test_a_failing_export_leaves_no_sources_behind(tmp_path):
    before = sources()
    with pytest.raises(RuntimeError), forgetting_sources():
        fx.symbolic_trace(nn.Identity())
        assert sources() != before
        raise RuntimeError
    assert sources() == before
