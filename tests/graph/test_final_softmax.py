"""A softmax at the end of a network is no part of what students learn, and is there again in the files."""

import copy

import onnxruntime
import pytest
import torch
from support.small_nets import SPEC, Residual
from torch import nn

import dfq
from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.graph.final_softmax import add_final_softmax, remove_final_softmax
from dfq.jobs.increment.grow_head import grow
from dfq.teacher import Teacher


def with_softmax(axis: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Residual(5), nn.Softmax(axis)).eval()


@pytest.mark.parametrize("axis", [1, -1])
@torch.no_grad()
def test_a_teacher_gives_the_logits_in_front_of_it(axis):
    model, images = with_softmax(axis), torch.randn(4, *SPEC.size)
    teacher = Teacher(model, SPEC)
    assert teacher.interface.softmax and teacher.num_classes == 5 and "softmax" in teacher.assumed[-1]
    torch.testing.assert_close(teacher(images), model[0](images))
    torch.testing.assert_close(teacher.original(images), model(images))


@torch.no_grad()
def test_it_can_be_put_back():
    model, images = with_softmax(), torch.randn(4, *SPEC.size)
    network = copy.deepcopy(capture(model, SPEC))
    assert remove_final_softmax(network) and not remove_final_softmax(network)
    add_final_softmax(network)
    torch.testing.assert_close(network(images), model(images))


def test_other_networks_keep_what_they_have():
    assert not Teacher(Residual(5), SPEC).interface.softmax
    with pytest.raises(DfqError):  # over the images of a batch, which makes them depend on each other
        Teacher(with_softmax(0), SPEC)


@pytest.mark.slow
def test_files_end_in_it_again(tmp_path):
    model, images = with_softmax(), torch.randn(4, *SPEC.size)
    given = {"input_size": SPEC.size, "mean": SPEC.mean, "std": SPEC.std}
    result = dfq.quantize(model, out=tmp_path / "run", images=16, method="instant", **given)
    assert result.report["float_file"]["relative_error"] < 1e-3
    assert result.report["agreement"]["onnx_student"]["synthetic"] == 1.0
    assert result.report["error_steps"]["max"] < 2
    with torch.no_grad():
        expected = result.student(images).softmax(1)
    found = onnxruntime.InferenceSession(str(result.onnx)).run(None, {"images": images.numpy()})[0]
    assert torch.allclose(torch.from_numpy(found), expected, atol=0.02)


def test_new_classes_need_logits():
    with pytest.raises(DfqError, match="ends in a softmax"):
        grow(Teacher(with_softmax(), SPEC), 2)
