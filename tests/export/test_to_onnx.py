"""The ONNX file computes what the student computes, on integer kernels."""

import numpy as np
import onnxruntime
import pytest
import torch
from support.export_cases import NETWORKS, assert_agree, calibrated_student, images, nodes_of
from support.small_nets import SPEC, small_teacher

from dfq.export import export_float_onnx, export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.lowering.lower import prepare
from dfq.graph.file_interface import FileInterface
from dfq.quantizers.targets import TARGETS
from dfq.student.convert import activation_quantizers


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_file_computes_what_the_student_computes(exported, name, bits):
    assert_agree(*exported(name, bits))


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "reflecting"])
def test_nothing_computes_in_floating_point(exported, name, bits):
    assert count_nodes(exported(name, bits)[1])["float"] == []


@pytest.mark.parametrize("bits", [8, 2])
def test_integer_kernels_of_a_residual_net(exported, bits):
    integer = count_nodes(exported("residual", bits)[1])["integer"]
    expected = {"QLinearConv": 3, "QLinearAdd": 1, "NhwcMaxPool": 1, "QLinearGlobalAveragePool": 1, "QGemm": 1}
    assert {op: integer.get(op) for op in expected} == expected


def test_batch_is_open_by_default(exported):
    engine = Engine(exported("residual", 8)[1])
    assert engine.batch_size is None
    together = engine.run(images(7))
    assert np.array_equal(together, np.concatenate([engine.run(image[None]) for image in images(7)]))


def test_batch_can_be_fixed(exported, tmp_path):
    student, path = exported("residual", 8)
    fixed = Engine(export_onnx(student, tmp_path / "fixed.onnx", SPEC, batch_size=4))
    assert fixed.batch_size == 4
    assert np.array_equal(fixed.run(images(6)), Engine(path).run(images(6)))


@pytest.mark.parametrize("scheme", ["paper-qat", "paper-ptq"])
@pytest.mark.parametrize("bits", [8, 4])
def test_schemes_of_papers(exported, scheme, bits):
    student, path = exported("residual", bits, scheme)
    assert_agree(student, path)


def test_paddings_join_their_convolution(exported):
    path = exported("mobile", 8)[1]
    assert not nodes_of(path, "Pad")
    stem = next(node for node in nodes_of(path, "Conv") if node.name.startswith("stem"))
    assert next(list(a.ints) for a in stem.attribute if a.name == "pads") == [0, 0, 1, 1]


def test_option_a_shortcut_moves_integers(exported):
    path = exported("option_a", 8)[1]
    assert nodes_of(path, "Pad") and count_nodes(path)["integer"]["Pad"] == len(nodes_of(path, "Pad"))


@pytest.mark.parametrize("name", ["residual", "relu6"])
def test_activations_are_absorbed(exported, name):
    path = exported(name, 8)[1]
    assert not nodes_of(path, "Relu") and not nodes_of(path, "Clip")


def test_activation_stays_where_the_grid_does_not_clip(tmp_path):
    student = calibrated_student("residual", 8)
    quantizer = next(q for name, q in activation_quantizers(student).items() if "relu" in name)
    quantizer.zero_point.fill_(20)
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert len(nodes_of(path, "Relu")) == 1
    assert_agree(student, path)


def test_student_does_not_change():
    student = calibrated_student("residual", 4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    code = student.code
    prepare(student, SPEC, TARGETS["ort-cpu"])
    assert student.code == code
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


@torch.no_grad()
def test_float_twin(tmp_path):
    teacher = small_teacher()
    path = export_float_onnx(teacher.model, tmp_path / "float.onnx", SPEC)
    np.testing.assert_allclose(Engine(path).run(images()), teacher(images()).numpy(), atol=1e-5)
    assert not nodes_of(path, "BatchNormalization") and not nodes_of(path, "ReduceMean")


@pytest.mark.parametrize("names", [("pixels", "scores"), ("stem/Conv", "relu/Relu"), ("stem.weight", "stem.bias")])
def test_the_ends_have_the_names_that_are_asked_for(names, tmp_path):
    """Also where something inside of the file has such a name."""
    teacher, seen = small_teacher(), images()
    file = export_float_onnx(teacher.model, tmp_path / "net.onnx", SPEC, interface=FileInterface(names[0], names[1:]))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == names
    found = torch.from_numpy(session.run(None, {names[0]: seen.numpy()})[0])
    torch.testing.assert_close(found, teacher(seen), atol=1e-4, rtol=1e-4)
