"""An export that cannot be done leaves no file and says why; one that can says nothing."""

import importlib.util
from pathlib import Path

import pytest
import torch
from support.export_cases import calibrated_student, images
from support.small_nets import SPEC, small_teacher
from torch import nn

from dfq.errors import DfqError
from dfq.export import export_onnx
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate


class Unsupported(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, images):
        return self.head(torch.special.i0e(self.conv(images)).mean((2, 3)))


def test_unsupported_operator_is_named_and_leaves_no_file(tmp_path, capfd):
    student = make_student(small_teacher(Unsupported()), make_scheme("deploy"))
    calibrate(student, images(), ranges="minmax")
    with pytest.raises(DfqError, match="i0e") as caught:
        export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert caught.value.exit_code == 1 and caught.value.needed and caught.value.way_out
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_nothing(exported, tmp_path, monkeypatch):
    student = exported("residual", 8)[0]
    (tmp_path / "model.onnx").write_bytes(b"the file of the last run")

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DfqError, match="No space left"):
        export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"the file of the last run"


def test_export_is_silent(tmp_path, capfd):
    export_onnx(calibrated_student("relu6", 8), tmp_path / "model.onnx", SPEC)
    assert capfd.readouterr() == ("", "")


def test_folder_refuses_its_generic_name():
    path = Path(__file__).resolve().parents[2] / "export" / "__init__.py"
    spec = importlib.util.spec_from_file_location("export", path)
    with pytest.raises(ImportError, match=r"dfq\.export"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
