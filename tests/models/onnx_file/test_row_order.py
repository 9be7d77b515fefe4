"""Indices that a file computes from the number of images, as torch's exporter writes `as_strided`."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from support.onnx_files import SHAPE, one_operator
from torch import Tensor, nn

from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.read import read_onnx
from dfq.models.onnx_file.reading import read_onnx_file
from dfq.models.onnx_file.runtime import check_same_outputs
from dfq.models.onnx_file.settings import ReadOnnxSettings

NUMBERS = 192  # of an image


def gathered(offsets: np.ndarray, *, stride: int = NUMBERS, fixed: int | None = None) -> onnx.ModelProto:
    """Returns a file that gathers from all numbers of its images by image · stride + offsets."""
    model = one_operator("Identity", opset=18)
    del model.graph.node[:]
    nodes = [
        ("Reshape", ["images", "all"], "flat", {}),
        ("Shape", ["images"], "shape", {"end": 1}), ("Squeeze", ["shape"], "count", {}),
        ("Range", ["zero", "count", "one"], "range", {}), ("Mul", ["range", "stride"], "starts", {}),
        ("Unsqueeze", ["starts", "axis"], "rows", {}), ("Add", ["rows", "offsets"], "index", {}),
        ("Gather", ["flat", "index"], "result", {}),
    ]  # fmt: skip
    model.graph.node.extend(helper.make_node(op, given, [made], name=made, **more) for op, given, made, more in nodes)
    stored = {"all": [-1], "zero": 0, "one": 1, "stride": stride, "axis": [1], "offsets": offsets[None]}
    if fixed is not None:  # the exporter computes the indices then
        del model.graph.node[1:7]
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = fixed
        stored = {"all": [-1], "index": stride * np.arange(fixed)[:, None] + offsets}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in stored.items())
    return model


def network_of(model: onnx.ModelProto, path) -> list[str]:
    """Returns the operators of the network, which computes what ONNX Runtime computes."""
    onnx.save(model, path)
    file = read_onnx_file(path)
    network = OnnxNetwork(file, SHAPE)
    check_same_outputs(network, file, SHAPE, ReadOnnxSettings())
    return [network.get_submodule(name).node.op for name, _ in network.order]


def test_a_gather_of_every_number_in_its_order_is_a_reshape(tmp_path):
    assert network_of(gathered(np.arange(NUMBERS)), tmp_path / "net.onnx") == ["Reshape", "Reshape"]


@pytest.mark.parametrize(
    "offsets, stride", [(np.arange(NUMBERS)[::-1], NUMBERS), (np.arange(7), NUMBERS), (np.arange(NUMBERS), 0)]
)
def test_another_gather_stays_one(offsets, stride, tmp_path):
    assert "Gather" in network_of(gathered(offsets.copy(), stride=stride), tmp_path / "net.onnx")


@pytest.mark.parametrize("fixed", [1, 2])
def test_a_gather_for_a_fixed_number_of_images(fixed, tmp_path):
    offsets = np.arange(NUMBERS)
    assert network_of(gathered(offsets, fixed=fixed), tmp_path / "net.onnx") == ["Reshape", "Gather"]
    assert network_of(gathered(offsets[::-1].copy(), fixed=fixed), tmp_path / "net.onnx") == ["Reshape", "Gather"]


class LastPooled(nn.Module):
    """Pools maps whose channels lie last in memory, as ConvNeXt and Swin Transformer do."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.patches(images).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize("fixed", [None, 1])
def test_a_file_of_torchs_new_exporter(fixed, tmp_path):
    torch.manual_seed(0)
    model, path = LastPooled().eval(), tmp_path / "net.onnx"
    open_count = None if fixed else ({0: torch.export.Dim.DYNAMIC},)
    example = torch.randn(fixed or 2, *SHAPE)
    program = torch.onnx.export(
        model, (example,), dynamo=True, dynamic_shapes=open_count, opset_version=18, verbose=False
    )
    program.save(path)
    assert "Gather" in {node.op_type for node in onnx.load(path).graph.node}
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(read_onnx(path)(images), model(images))
