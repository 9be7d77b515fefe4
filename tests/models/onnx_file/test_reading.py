"""What is no network for images, damaged or hostile is refused in one line, before memory is taken."""

import os
import re

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.onnx_files import SHAPE, one_operator

from dfq.errors import DfqError
from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.read import image_size, read_onnx
from dfq.models.onnx_file.reading import read_onnx_file

CONV = one_operator("Conv", np.ones((4, 3, 3, 3), np.float32))


def written(model: onnx.ModelProto, folder) -> object:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(path, *args) -> DfqError:
    with pytest.raises(DfqError) as caught:
        read_onnx(path, *args)
    return caught.value


def changed(**fields) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(CONV)
    for name, value in fields.items():
        setattr(model.graph.input[0].type.tensor_type, name, value)
    return model


@pytest.mark.parametrize("content", [b"", b"not a network", CONV.SerializeToString()[:60], b"\x00" * 1000])
def test_damaged_files(content, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert re.search("damaged|no network", refused(path).found)


def test_a_missing_file(tmp_path):
    assert "no file" in refused(tmp_path / "net.onnx").found


@pytest.mark.parametrize("opset", [5, 99])
def test_other_opsets(opset, tmp_path):
    model = changed()
    model.opset_import[0].version = opset
    assert f"opset {opset}" in refused(written(model, tmp_path)).found


@pytest.mark.parametrize("op", ["QuantizeLinear", "QLinearConv", "ConvInteger"])
def test_a_quantized_file(op, tmp_path):
    assert "already quantized" in refused(written(one_operator(op), tmp_path)).found


@pytest.mark.parametrize("op", ["Loop", "SequenceConstruct"])
def test_control_flow_and_sequences(op, tmp_path):
    assert "control flow" in refused(written(one_operator(op), tmp_path)).found


@pytest.mark.parametrize("fields", [{"elem_type": TensorProto.INT64}, {"elem_type": TensorProto.STRING}])
def test_inputs_that_are_no_numbers(fields, tmp_path):
    assert "takes 'images', " in refused(written(changed(**fields), tmp_path)).found


def test_inputs_of_another_rank(tmp_path):
    assert (
        "takes 'images', float (?, 80, 100)" in refused(written(one_operator("Relu", shape=(80, 100)), tmp_path)).found
    )


def test_several_inputs(tmp_path):
    model = changed()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    assert "takes 'images', 'mask'" in refused(written(model, tmp_path)).found


def test_a_small_file_that_declares_a_gigantic_weight(tmp_path):
    model = changed()
    model.graph.initializer[0].dims[0] = 10**12
    assert "numbers and holds" in refused(written(model, tmp_path)).found


@pytest.mark.parametrize(
    "constants", [("ConstantOfShape", (np.array([10**6, 10**6]),)), ("Tile", (np.ones(9), np.array([10**12])))]
)
def test_a_small_file_that_computes_a_gigantic_constant(constants, tmp_path):
    op, values = constants
    stored = [numpy_helper.from_array(np.asarray(value), f"value_{place}") for place, value in enumerate(values)]
    nodes = [
        helper.make_node(op, [tensor.name for tensor in stored], ["large"], name="large"),
        helper.make_node("ReduceSum", ["large"], ["one"], name="one"),
        helper.make_node("Add", ["images", "one"], ["result"], name="sum"),
    ]
    model = changed()
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(stored)
    assert "numbers" in refused(written(model, tmp_path)).found


def test_a_small_file_that_computes_a_gigantic_map(tmp_path):
    path = written(
        one_operator("Expand", np.array([1, 3, 10**5, 10**5]), before=(("GlobalAveragePool", (), {}),)), tmp_path
    )
    assert "for one image" in refused(path).found


def external(folder, location: str, *, length: int = 108 * 4) -> object:
    model = changed()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        weight.external_data.add(key=key, value=value)
    return written(model, folder)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "", "folder/../../secret.bin"])
def test_external_data_outside_of_the_folder(location, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"\x00" * 1000)
    (tmp_path / "in").mkdir()
    assert "outside of its own folder" in refused(external(tmp_path / "in", location)).found


def test_a_link_out_of_the_folder(tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"\x00" * 1000)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.bin").symlink_to(tmp_path / "secret.bin")
    assert "outside of its own folder" in refused(external(tmp_path / "in", "data.bin")).found


def test_external_data_beside_the_file(tmp_path):
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    path = external(tmp_path, "data.bin")
    (tmp_path / "data.bin").write_bytes(weight.tobytes()[:100])
    assert "shorter" in refused(path).found
    (tmp_path / "data.bin").write_bytes(weight.tobytes())
    assert np.array_equal(read_onnx_file(path).tensors["constant_0"], weight)


def test_nested_graphs(tmp_path):
    inner = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["y"])], "g", [], [helper.make_empty_tensor_value_info("y")]
    )
    for _ in range(200):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("y")])
        if inner.ByteSize() > 10**6:
            break
    model = changed()
    model.graph.node[0].CopyFrom(inner.node[0])
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert refused(path).needed


def test_the_size_of_the_images(tmp_path):
    path = written(one_operator("Relu", shape=(3, "h", "w")), tmp_path)
    assert "3x?x?" in refused(path).found
    assert image_size(read_onnx_file(path), (3, 16, 8)) == ((3, 16, 8), False)
    path = written(one_operator("Relu", shape=(16, 8, 3)), tmp_path)
    assert image_size(read_onnx_file(path), None) == ((3, 16, 8), True)
    assert "which takes 3x16x8" in refused(path, (3, 32, 32)).found


def test_an_if_whose_condition_is_a_constant(tmp_path):
    branches = {
        name: helper.make_graph([helper.make_node(op, ["images"], [f"{name}_y"])], name, [],
                                [helper.make_empty_tensor_value_info(f"{name}_y")])
        for name, op in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }  # fmt: skip
    model = changed()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(False), "condition"))
    model.graph.node[0].CopyFrom(helper.make_node("If", ["condition"], ["result"], name="branch", **branches))
    network = OnnxNetwork(read_onnx_file(written(model, tmp_path)), SHAPE)
    assert [step.node.op for step in network.modules() if hasattr(step, "node")] == ["Neg", "Identity"]
    images = torch.randn(2, *SHAPE)
    assert torch.equal(network(images), -images)


def of_constants(folder, *nodes: onnx.NodeProto, **stored: np.ndarray) -> object:
    """Writes a file whose nodes compute "one" of constants, which is added to the images."""
    model = changed()
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend([*nodes, helper.make_node("Add", ["images", "one"], ["result"], name="sum")])
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in stored.items())
    return written(model, folder)


def test_constants_that_no_memory_holds(tmp_path):
    column, row = np.ones((20000, 1), np.float32), np.ones((1, 20000), np.float32)
    nodes = helper.make_node("Mul", ["a", "b"], ["c"]), helper.make_node("ReduceSum", ["c"], ["one"])
    assert "would be computed" in refused(of_constants(tmp_path, *nodes, a=column, b=row)).found


def test_constants_of_chance(tmp_path):
    node = helper.make_node("RandomNormal", [], ["one"], shape=[1])
    assert "operator RandomNormal" in refused(of_constants(tmp_path, node)).found


def test_a_loop_that_hides_in_a_branch(tmp_path):
    body = helper.make_graph([helper.make_node("Loop", ["", ""], ["one"])], "g", [], [])
    node = helper.make_node("If", ["c"], ["one"], then_branch=body, else_branch=body)
    for attribute in node.attribute:
        attribute.type = 0
    assert "control flow" in refused(of_constants(tmp_path, node, c=np.array(True))).found


def test_an_input_that_nobody_makes(tmp_path):
    assert (
        "'absent' is not defined" in refused(of_constants(tmp_path, helper.make_node("Neg", ["absent"], ["one"]))).found
    )


def test_the_same_constant_twice(tmp_path):
    range_of = helper.make_node("Range", ["a", "b", "a"], ["r"])
    nodes = (
        range_of,
        helper.make_node("Cast", ["r"], ["f"], to=1),
        helper.make_node("ReduceSum", ["f"], ["one"], keepdims=0),
    )
    path = of_constants(tmp_path, *nodes, a=np.array(1), b=np.array(4))
    network = OnnxNetwork(read_onnx_file(path), SHAPE)
    assert torch.equal(network(torch.zeros(1, *SHAPE)), torch.full((1, *SHAPE), 6.0))


def test_a_constant_that_is_no_number(tmp_path):
    path = of_constants(tmp_path, helper.make_node("Neg", ["a"], ["one"]), a=np.array(np.nan, np.float32))
    assert OnnxNetwork(read_onnx_file(path), SHAPE)(torch.zeros(1, *SHAPE)).isnan().all()


def test_an_attribute_that_no_row_reads(tmp_path):
    path = written(one_operator("ArgMax", axis=1, select_last_index=1), tmp_path)
    with pytest.raises(DfqError, match="attribute select_last_index is 1"):
        OnnxNetwork(read_onnx_file(path), SHAPE)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_external_data_in_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "data.bin")
    assert "no file" in refused(external(tmp_path, "data.bin")).found


@pytest.mark.parametrize("location", [".", "sub"])
def test_external_data_in_a_folder(location, tmp_path):
    (tmp_path / "sub").mkdir()
    assert refused(external(tmp_path, location)).needed


def test_images_that_no_memory_holds(tmp_path):
    model = one_operator("Relu", shape=(3, 60000, 60000))
    assert "takes images of 3x60000x60000" in refused(written(model, tmp_path)).found


def test_arithmetic_of_two_numbers(tmp_path):
    nodes = (
        helper.make_node("Div", ["a", "b"], ["c"]),
        helper.make_node("Sub", ["c", "b"], ["d"]),
        helper.make_node("Cast", ["d"], ["one"], to=TensorProto.FLOAT),
    )
    path = of_constants(tmp_path, *nodes, a=np.array(-7), b=np.array(2))
    network = OnnxNetwork(read_onnx_file(path), SHAPE)
    assert torch.equal(network(torch.zeros(1, *SHAPE)), torch.full((1, *SHAPE), -5.0))
