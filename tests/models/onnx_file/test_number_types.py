"""Numbers of 16 bits become 32-bit numbers, and dfq says so; those of fewer bits belong to quantized networks."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from support.onnx_files import SHAPE, exported, one_operator
from support.small_nets import Residual

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.models.onnx_file.read import read_onnx
from dfq.models.onnx_file.reading import read_onnx_file

IMAGES = (3, 16, 16)


def with_bfloat16(path: Path, *, raw: bool = True, external: bool = False) -> int:
    """Stores a file's weights as bfloat16, which it casts to float; returns how many there are."""
    model, count = onnx.load(path), 0
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32:
            continue
        small, name = values.astype(ml_dtypes.bfloat16), tensor.name
        tensor.CopyFrom(numpy_helper.from_array(small, f"{name}_small"))
        if not raw:
            tensor.CopyFrom(helper.make_tensor(f"{name}_small", TensorProto.BFLOAT16, values.shape, values.flatten()))
        model.graph.node.insert(0, helper.make_node("Cast", [f"{name}_small"], [name], to=TensorProto.FLOAT))
        count += 1
    if external:
        external_data_helper.convert_model_to_external_data(model, location="net.data", size_threshold=0)
    onnx.save(model, path)
    return count


@pytest.mark.parametrize("storage", [{"raw": True}, {"raw": False}, {"external": True}], ids=str)
def test_weights_of_bfloat16_are_float32_and_dfq_says_so(storage, tmp_path):
    torch.manual_seed(0)
    model, path = Residual(5), tmp_path / "net.onnx"
    exported(model, path, shape=IMAGES)
    count = with_bfloat16(path, **storage)
    loaded = load_checkpoint(path, mean=0.0, std=1.0)
    assert loaded.assumed == (f"float32 in place of bfloat16, which {count} tensors have",)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.model.parameters())
    rounded, images = exported(model.bfloat16().float(), tmp_path / "other.onnx", shape=IMAGES), torch.randn(2, *IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(images), read_onnx(rounded)(images), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT2", "FLOAT4E2M1", "FLOAT8E4M3FN"])
def test_tensors_below_8_bits_belong_to_quantized_networks(kind, tmp_path):
    model, path = one_operator("Add", np.zeros((3, 8, 8), np.float32), opset=21), tmp_path / "net.onnx"
    number = TensorProto.DataType.Value(kind)
    model.graph.initializer[0].CopyFrom(helper.make_tensor("small", number, SHAPE, np.zeros(SHAPE).flatten()))
    model.graph.node.insert(0, helper.make_node("Cast", ["small"], ["constant_0"], to=TensorProto.FLOAT))
    onnx.save(model, path)
    with pytest.raises(DfqError) as caught:
        read_onnx_file(path)
    assert f"already quantized: tensor 'small' is {kind}" in caught.value.found


def test_int4_weights_behind_a_dequantize_linear(tmp_path):
    model, path = one_operator("Add", np.zeros((3, 8, 8), np.float32), opset=21), tmp_path / "net.onnx"
    weight = helper.make_tensor("small", TensorProto.INT4, SHAPE, np.zeros(SHAPE, np.int8).flatten())
    model.graph.initializer[0].CopyFrom(weight)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "scale"))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["small", "scale"], ["constant_0"], name="dq"))
    onnx.save(model, path)
    with pytest.raises(DfqError) as caught:
        read_onnx_file(path)
    assert "already quantized: node 'dq' is DequantizeLinear" in caught.value.found
