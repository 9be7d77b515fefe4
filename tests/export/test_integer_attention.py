"""Attention on integers: the file computes what the student computes, on the kernels that it should."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from support.attention_nets import NETWORKS, SPEC, Attending, calibrated, causal, images

from dfq.export import export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.engines.reference_engine import ReferenceEngine
from dfq.quantizers.targets import TARGETS
from dfq.student.convert import activation_quantizers

CPU = TARGETS["ort-cpu"]


def signal_to_noise(expected: np.ndarray, found: np.ndarray) -> float:
    """In decibels."""
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


@pytest.fixture(scope="module", params=[(name, bits) for name in NETWORKS for bits in (8, 4)], ids=str)
def case(request, tmp_path_factory):
    name, bits = request.param
    torch.manual_seed(0)
    student, teacher = calibrated(NETWORKS[name](), bits)
    path = tmp_path_factory.mktemp("attention") / "model.onnx"
    return student, teacher, export_onnx(student, path, SPEC), bits


@torch.no_grad()
def test_file_computes_what_the_student_computes(case):
    student, _, path, bits = case
    expected = student(images()).numpy()
    assert signal_to_noise(expected, Engine(path).run(images())) >= (35 if bits == 8 else 20)  # rounding ties


@torch.no_grad()
def test_reference_evaluator_computes_the_same(case):
    student, _, path, bits = case
    expected = student(images(4)).numpy()
    assert signal_to_noise(expected, ReferenceEngine(path).run(images(4))) >= (35 if bits == 8 else 20)


@torch.no_grad()
def test_student_stays_near_its_teacher(case):
    student, teacher, _, bits = case
    if bits == 8:
        assert signal_to_noise(teacher(images()).numpy(), student(images()).numpy()) >= 25


def second_factors(path, folder) -> list[onnx.NodeProto]:
    """The QuantizeLinear of each second factor that the runtime multiplies as integers and that is no weight."""
    optimized = folder / "optimized.onnx"
    Engine(path, 1, optimized)
    graph = onnx.load(optimized).graph
    producers = {name: node for node in graph.node for name in node.output}
    found = []
    for product in [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]:
        node = producers.get(product.input[1])
        while node is not None and node.op_type != "QuantizeLinear":
            assert node.op_type in ("Transpose", "Reshape", "Squeeze", "Unsqueeze")
            node = producers[node.input[0]]
        found += [] if node is None else [node]
    return found


def test_both_products_run_on_integers(case, tmp_path):
    """No product is in floating point. Between quantizers and products bytes are moved, and they are signed."""
    nodes = count_nodes(case[2])
    names = [node["op"] for node in nodes["float"]]
    assert "MatMul" not in names and "FusedMatMul" not in names
    assert nodes["integer"].get("DequantizeLinear", 0) <= 2  # one for each reader of what the convolution gives
    found = second_factors(case[2], tmp_path)
    assert len(found) == 2
    types = [attribute.i for node in found for attribute in node.attribute if attribute.name == "output_dtype"]
    assert types == [onnx.TensorProto.INT8] * 2


@pytest.mark.parametrize("name", ["fused", "packed"])
def test_one_split_precedes_the_quantizers(tmp_path, name):
    path = export_onnx(calibrated(NETWORKS[name]())[0], tmp_path / "model.onnx", SPEC)
    graph = onnx.load(path).graph
    (split,) = [node for node in graph.node if node.op_type == "Split"]
    readers = [node.op_type for node in graph.node if set(node.input) & set(split.output)]
    assert readers == ["QuantizeLinear"] * 3
    assert not [node for node in graph.node if node.op_type == "Slice"]


def test_the_factor_of_the_logits_is_a_scale(tmp_path):
    """The DequantizeLinear of the queries multiplies by the scale and the factor at once."""
    student, _ = calibrated(NETWORKS["own scale"]())
    graph = onnx.load(export_onnx(student, tmp_path / "model.onnx", SPEC)).graph
    scale = next(q for n, q in activation_quantizers(student).items() if n.endswith("_query")).qparams()[0].item()
    scales = [onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert any(value.ndim == 0 and value == np.float32(scale) * np.float32(0.7) for value in scales)


@torch.no_grad()
@pytest.mark.parametrize("target", ["openvino", "onnx-generic", "ort-cuda"])
def test_a_student_for_cpu_is_written_for_others(tmp_path, target):
    student, _ = calibrated(Attending())
    path = export_onnx(student, tmp_path / "model.onnx", SPEC, target=target)
    assert signal_to_noise(student(images()).numpy(), Engine(path).run(images())) >= 30
    assert {opset.domain for opset in onnx.load(path).opset_import} == {""}


@torch.no_grad()
def test_each_part_can_be_left_out(tmp_path):
    for target, products, own in (
        (replace(CPU, min_keys=0), 0, False),
        (replace(CPU, has_fused_bias=False), 2, False),
        (CPU, 2, True),
    ):
        torch.manual_seed(0)
        student, _ = calibrated(Attending(), target=target)
        path = export_onnx(student, tmp_path / "model.onnx", SPEC, target=target)
        assert len(second_factors(path, tmp_path)) == products
        assert any(o.domain == "com.microsoft" for o in onnx.load(path).opset_import) == own
        assert signal_to_noise(student(images()).numpy(), Engine(path).run(images())) >= 35


def test_causal_attention_stays_in_floating_point(tmp_path):
    student, _ = calibrated(Attending(causal))
    assert not [name for name in activation_quantizers(student) if name.endswith("_query")]
    assert not second_factors(export_onnx(student, tmp_path / "model.onnx", SPEC), tmp_path)
