"""What the ONNX file stores: its header, integer weights and biases, the narrow grid of activations."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from support.export_cases import assert_agree, calibrated_student, images, initializers, nodes_of
from support.small_nets import SPEC

from dfq.export import export_onnx
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.lowering.integer_weights import integer_weights
from dfq.student.set_ranges import input_quantizer, round_biases_to_kernel_grid


def test_file_is_checked_and_plain(exported):
    model = onnx.load(exported("residual", 8)[1])
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (10, [("", 21)])
    assert [i.name for i in model.graph.input] == ["images"] and [o.name for o in model.graph.output] == ["logits"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert "conv1/Conv" in [node.name for node in model.graph.node]


def test_int8_weights(exported):
    student, path = exported("residual", 8)
    stored = initializers(path)
    weight = stored["conv1.weight.integers"]
    assert weight.data_type == TensorProto.INT8
    expected = student.conv1.weight_quantizer.integers(student.conv1.weight)
    assert np.array_equal(numpy_helper.to_array(weight), expected.numpy())
    node = next(n for n in nodes_of(path, "DequantizeLinear") if n.input[0] == weight.name)
    assert [a.i for a in node.attribute if a.name == "axis"] == [0]


@pytest.mark.parametrize("bits", [8, 4])
def test_biases_are_packed_and_equal_those_of_the_kernels(exported, bits):
    student, path = exported("residual", bits)
    stored = initializers(path)
    assert stored["conv1.bias"].data_type == TensorProto.INT16
    assert not [
        t for t in stored.values() if t.data_type in (TensorProto.INT32, TensorProto.FLOAT) and "bias" in t.name
    ]
    source = input_quantizer(next(n for n in student.graph.nodes if n.target == "conv1"), dict(student.named_modules()))
    refinement = {8: 1, 4: 8}[bits]
    step = source.qparams()[0] * student.conv1.weight_quantizer.qparams()[0] / refinement
    integers = numpy_helper.to_array(stored["conv1.bias"])
    assert np.array_equal(integers * step.numpy(), student.conv1.bias.detach().numpy())
    assert integers.any(), "biases of zero would prove nothing"
    products = {node.output[0] for node in nodes_of(path, "Mul")}
    assert len([n for n in nodes_of(path, "DequantizeLinear") if n.input[1] in products and len(n.input) == 2]) == 4


def test_four_bit_weights_are_packed(exported):
    student, path = exported("residual", 4)
    weight = initializers(path)["conv1.weight.integers.int4"]
    assert weight.data_type == TensorProto.INT4
    assert len(weight.raw_data) == student.conv1.weight.numel() // 2 and not weight.int32_data
    expected = student.conv1.weight_quantizer.integers(student.conv1.weight)
    assert np.array_equal(numpy_helper.to_array(weight).astype(int), expected.numpy())


def test_two_bit_weights_are_packed(exported):
    student, path = exported("residual", 2)
    weight, model = initializers(path)["conv1.weight.integers.int2"], onnx.load(path)
    assert weight.data_type == TensorProto.INT2 and len(weight.raw_data) == student.conv1.weight.numel() // 4
    expected = student.conv1.weight_quantizer.integers(student.conv1.weight)
    assert np.array_equal(numpy_helper.to_array(weight).astype(int), expected.numpy())
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (13, [("", 25)])


def test_two_bit_weights_of_a_target_without_int2_are_stored_in_four(exported, tmp_path):
    path = export_onnx(exported("residual", 2)[0], tmp_path / "other.onnx", SPEC, target="openvino")
    model = onnx.load(path)
    assert initializers(path)["conv1.weight.integers.int4"].data_type == TensorProto.INT4
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 21)]
    assert np.array_equal(Engine(path).run(images()), Engine(exported("residual", 2)[1]).run(images()))


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize("name", ["residual", "mobile"])
def test_packed_file_equals_its_unpacked_twin(exported, tmp_path, name, bits):
    path = exported(name, bits)[1]
    model = onnx.load(path)
    casts = {node.input[0]: node for node in model.graph.node if node.op_type == "Cast"}
    packed = [
        t for t in model.graph.initializer if t.name in casts and t.data_type == getattr(TensorProto, f"INT{bits}")
    ]
    assert packed
    for tensor in packed:
        wide = casts[tensor.name]
        (product,) = (node for node in model.graph.node if wide.output[0] in node.input)
        refinement = numpy_helper.to_array(initializers(path)[product.input[1]])
        integers = numpy_helper.to_array(tensor).astype(np.int8) * refinement.astype(np.int8)
        narrow = casts[product.output[0]]
        model.graph.initializer.append(numpy_helper.from_array(integers, narrow.output[0]))
        model.graph.initializer.remove(tensor)
        for node in (wide, product, narrow):
            model.graph.node.remove(node)
    onnx.save(model, tmp_path / "twin.onnx")
    assert np.array_equal(Engine(path).run(images()), Engine(tmp_path / "twin.onnx").run(images()))


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_activations_stay_on_their_narrow_grid(exported, bits):
    model = onnx.load(exported("residual", bits)[1])
    clipped = [node.output[0] for node in model.graph.node if node.op_type == "Clip"]
    assert clipped
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in clipped)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for integers in session.run(clipped, {"images": 10 * images().numpy()}):
        assert integers.dtype == np.uint8 and integers.max() <= 2**bits - 1


def test_asymmetric_four_bit_weights_reach_the_kernels_as_symmetric(exported):
    student, path = exported("residual", 4, "paper-qat")
    quantizer = student.conv1.weight_quantizer
    assert quantizer.zero_point.any()
    stored = initializers(path)
    packed = numpy_helper.to_array(stored["conv1.weight.integers.int4"]).astype(int)
    assert np.array_equal(packed, quantizer.integers(student.conv1.weight).numpy())
    cast = {n.output[0] for n in nodes_of(path, "Cast") if [a.i for a in n.attribute] == [TensorProto.INT8]}
    weights = [node for node in nodes_of(path, "DequantizeLinear") if node.input[0] in cast]
    points = [stored[node.input[2]] for node in weights if len(node.input) == 3]
    assert len(weights) == 4 and not any(numpy_helper.to_array(point).any() for point in points)


@torch.no_grad()
def test_mirrored_three_bit_weights_need_no_zero_point(tmp_path):
    student = calibrated_student("residual", 3)
    quantizer, weight = student.conv1.weight_quantizer, student.conv1.weight
    assert set(quantizer.zero_point.tolist()) == {-1.0, 0.0}
    channel = int(quantizer.zero_point.argmin())
    weight[channel] = quantizer.scale[channel] * torch.arange(-4.0, 5.0).view(3, 3)
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    packed = numpy_helper.to_array(initializers(path)["conv1.weight.integers.int4"]).astype(int)
    assert packed[channel, 0].flatten().tolist() == [-3, -3, -2, -1, 0, 1, 2, 3, 4]
    assert not nodes_of(path, "Sub")
    assert_agree(student, path)


@pytest.mark.parametrize("scheme", ["deploy", "paper-qat"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
@torch.no_grad()
def test_refined_weights_are_the_same_weights_with_a_finer_bias(bits, scheme):
    student = calibrated_student("residual", bits, scheme)
    layer, quantizer = student.conv2, student.conv2.weight_quantizer
    source = input_quantizer(next(n for n in student.graph.nodes if n.target == "conv2"), dict(student.named_modules()))
    layer.bias.copy_(exact := torch.linspace(-1, 1, len(layer.bias)))
    round_biases_to_kernel_grid(student)
    coarse = source.qparams()[0] * quantizer.qparams()[0]
    assert ((layer.bias - exact).abs() <= coarse / quantizer.spec.refinement / 2 * 1.001).all()
    constants = integer_weights(layer, source)
    assert torch.equal(constants.integers * constants.scale.view(-1, 1, 1, 1), quantizer(layer.weight))
    assert torch.equal(constants.bias * constants.bias_scale, layer.bias)
    largest = quantizer.spec.refinement * (2 ** (bits - 1) if quantizer.spec.symmetric else 2**bits - 1)
    assert constants.integers.abs().max() <= largest
    assert 2 * 255 * largest <= 2**15 - 1 or quantizer.spec.refinement == 1
    assert quantizer.spec.refinement == 1 or largest > 32


@torch.no_grad()
def test_bias_of_a_dead_channel_fits_int32(tmp_path):
    student = calibrated_student("residual", 8)
    student.conv1.weight[0] = 1e-9
    student.conv1.weight_quantizer.scale[0] = 1e-9
    student.conv1.bias[0] = 3.0
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    assert initializers(path)["conv1.bias.integers"].data_type == TensorProto.INT32  # too large for INT16
    assert 2**29 < numpy_helper.to_array(initializers(path)["conv1.bias.integers"])[0] <= 2**30
    assert_agree(student, path, steps=2.0)
