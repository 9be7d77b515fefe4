"""Each target's file has the structure that its row promises, and computes what the student computes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from support.command_line import SMALL, fail, succeed
from support.export_cases import NETWORKS, assert_agree, images
from support.small_nets import SPEC, small_teacher

from dfq.errors import DfqError
from dfq.export import export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.scheme import make_scheme
from dfq.quantizers.targets import DEFAULT_TARGET, TARGETS
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid

INTEGER_TYPES = (TensorProto.INT8, TensorProto.UINT8)


def make(network: str, bits: int, target: str):
    torch.manual_seed(0)
    student = make_student(small_teacher(NETWORKS[network]()), make_scheme("deploy", bits=bits, target=target))
    calibrate(student, images(), ranges="minmax")
    round_biases_to_kernel_grid(student)
    return student.eval()


@pytest.fixture(scope="module", params=[(target, bits) for target in TARGETS for bits in (8, 4)], ids=str)
def case(request, tmp_path_factory):
    """(target, bits, student, path) of the network with a pad, a slice, an addition and a pooling."""
    target, bits = request.param
    student = make("option_a", bits, target)
    path = tmp_path_factory.mktemp("targets") / f"{target}.onnx"
    return TARGETS[target], bits, student, export_onnx(student, path, SPEC, target=target)


def test_file_computes_what_the_student_computes(case):
    _, _, student, path = case
    assert_agree(student, path)


def test_header(case):
    target, _, _, path = case
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", target.opset)]
    assert model.ir_version == {18: 8, 21: 10}[target.opset]


def test_activations_have_the_target_s_type_and_zero_points(case):
    target, _, student, path = case
    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    points = [constants[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {point.data_type for point in points} == {TensorProto.INT8 if target.signed else TensorProto.UINT8}
    assert all(point.dims == [] for point in points)  # one scale per tensor
    if not target.zero_points:
        used = [node.input[2] for node in model.graph.node if node.op_type == "DequantizeLinear"]
        assert not any(numpy_helper.to_array(constants[name]).any() for name in used)
    specs = {(q.spec.signed, q.spec.symmetric) for q in activation_quantizers(student).values()}
    assert specs == {(target.signed, not target.zero_points)}


def test_weights_are_int8_per_channel_and_packed_where_the_target_packs(case):
    target, bits, _, path = case
    model = onnx.load(path)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    packed = [name for name, kind in types.items() if kind == TensorProto.INT4]
    assert bool(packed) == (target.packs_constants and bits == 4)
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and "weight" in n.input[0]]
    assert weights and all([a.i for a in node.attribute if a.name == "axis"] == [0] for node in weights)


def test_integers_meet_no_other_operator_where_the_target_wants_none(case):
    target, bits, _, path = case
    model = onnx.load(path)
    integers = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    readers = {node.op_type for node in model.graph.node if integers & set(node.input)}
    wide = [t.name for t in model.graph.initializer if t.data_type in (TensorProto.INT32, TensorProto.INT16)]
    biases = [name for name in wide if "bias" in name]
    assert bool(biases) == target.integer_operators
    if target.integer_operators:
        assert "Pad" in readers or "Slice" in readers or bits == 4
    else:
        assert readers == {"DequantizeLinear"}


@pytest.mark.parametrize("bits", [8, 4])
def test_grid_ends_before_quantization_are_those_of_the_integers(tmp_path, bits):
    """A Clip in front of QuantizeLinear and one behind it give the same integers, far outside the range too."""
    student = make("residual", bits, "ort-cpu")
    paths = [export_onnx(student, tmp_path / f"{t}.onnx", SPEC, target=t) for t in ("ort-cpu", "ort-cuda")]
    loud = 20 * images()
    np.testing.assert_allclose(*(Engine(path).run(loud) for path in paths), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("bits", [8, 3])
def test_signed_student_is_moved_up_for_unsigned_targets(tmp_path, bits):
    student = make("residual", bits, "tensorrt")
    path = export_onnx(student, tmp_path / "model.onnx", SPEC, target="ort-cpu")
    assert_agree(student, path)
    assert "QLinearConv" in count_nodes(path)["integer"]


def test_student_with_zero_points_is_refused_where_there_may_be_none(exported, tmp_path):
    with pytest.raises(DfqError, match="zero points") as caught:
        export_onnx(exported("residual", 8)[0], tmp_path / "model.onnx", SPEC, target="tensorrt")
    assert "--target tensorrt" in caught.value.way_out and not list(tmp_path.iterdir())


def test_asymmetric_weights_are_refused_where_there_may_be_none():
    with pytest.raises(DfqError, match="paper-qat"):
        Settings(scheme="paper-qat", target="tensorrt")


def test_unknown_target():
    with pytest.raises(DfqError, match="tflite"):
        Settings(target="tflite")


def test_size_needs_a_target_that_packs():
    with pytest.raises(DfqError, match="8 bits"):
        Settings(bits="mixed", target_size=1000, target="tensorrt")


def test_every_row_has_a_reason_and_a_source():
    assert DEFAULT_TARGET in TARGETS
    assert all(row.reason and row.source and name == row.name for name, row in TARGETS.items())


def test_commands(model_file, tmp_path):
    run = tmp_path / "run"
    succeed("quantize", model_file, *SMALL, "--method", "zeroq", "--target", "tensorrt", "--out", run)
    points = {t.data_type for t in onnx.load(run / "model.onnx").graph.initializer if t.data_type in INTEGER_TYPES}
    assert points == {TensorProto.INT8}
    succeed("export", run, "--out", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (run / "model.onnx").read_bytes()
    succeed("export", run, "--out", tmp_path / "cpu.onnx", "--target", "ort-cpu")
    x = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
    a, b = (Engine(tmp_path / f"{name}.onnx").run(x) for name in ("again", "cpu"))
    np.testing.assert_allclose(a, b, atol=0.05 * np.abs(a).max())
    assert "did you mean openvino" in fail("inspect", model_file, "--target", "openvin")
