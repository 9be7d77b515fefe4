"""A network that went out as an ONNX file comes in again, with its layers, names and answers."""

import hashlib
import json

import numpy as np
import onnxruntime
import pytest
import torch
from support.command_line import fail, succeed
from support.onnx_files import SHAPE, exported, one_operator
from support.output_nets import Detector, trained
from support.small_nets import Residual
from torch import Tensor, nn
from torch.nn import functional as F

import dfq
from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.graph.file_interface import interface_of
from dfq.graph.outputs import as_tuple
from dfq.graph.same_outputs import same_outputs
from dfq.models.onnx_file.read import read_onnx


class Attention(nn.Module):
    """Patches, a class token, one block with attention, and a head."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 5, 16))
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, length, width))
        return self.head(F.gelu(x[:, 0]))


NETWORKS = {"residual": lambda: Residual(5), "attention": Attention}


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "fixed"])
@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_export_of_torch_gives_the_networks_own_logits(name, opset, is_open, tmp_path):
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    shape = (3, 16, 16) if name == "residual" else SHAPE
    network = read_onnx(exported(model, tmp_path / "net.onnx", opset=opset, is_open=is_open, shape=shape))
    images = torch.randn(6, *shape)
    with torch.no_grad():
        assert same_outputs(network(images), model(images))
    layers = {n for n, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert layers >= {n for n, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def test_a_file_of_torchs_new_exporter(tmp_path):
    torch.manual_seed(0)
    model = Residual(5).eval()
    images = torch.randn(2, 3, 16, 16)
    program = torch.onnx.export(
        model, (images,), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
    )
    program.save(tmp_path / "net.onnx")
    with torch.no_grad():
        assert same_outputs(read_onnx(tmp_path / "net.onnx")(images), model(images))


def test_a_network_of_16_bits_is_computed_in_32(tmp_path):
    import onnx
    from onnx import numpy_helper

    path = exported(Residual(5), tmp_path / "net.onnx", shape=(3, 16, 16))
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == "float32":
            tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, path)
    network = read_onnx(path)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_what_is_assumed_of_the_images_is_said(tmp_path):
    path = exported(Residual(5), tmp_path / "net.onnx", shape=(3, 16, 16))
    loaded = load_checkpoint(path)
    assert loaded.input_spec.size == (3, 16, 16) and "mean and std of ImageNet" in loaded.assumed[-1]
    assert loaded.arch == str(path)
    assert load_checkpoint(path, mean=0.0, std=1.0).assumed == ()


@pytest.mark.slow
def test_the_job_takes_it_and_needs_it_no_more(tmp_path):
    torch.manual_seed(0)
    path = exported(Residual(5), tmp_path / "net.onnx", shape=(3, 16, 16), names=("pixels", "scores"))
    run = tmp_path / "run"
    said = succeed("quantize", path, "--mean", 0, "--std", 1, "--images", 16, "--method", "instant", "--out", run)
    assert "no estimate" in said and "Images from" in said
    report = json.loads((run / "report.json").read_text())
    assert report["evidence"]["predicted_drop"] is None and "nothing tells" in report["evidence"]["withheld"]
    assert report["coverage"]["share_of_macs"] == 1.0 and report["agreement"]["onnx_student"]["synthetic"] == 1.0
    assert "dead leaves" in report["knowledge"] and "for lack of BatchNorm statistics" in report["knowledge"]
    for file in (run / "model.onnx", run / "float.onnx"):
        session = onnxruntime.InferenceSession(str(file))
        assert [session.get_inputs()[0].name, session.get_outputs()[0].name] == ["pixels", "scores"]
    path.unlink()
    student, images = dfq.load(run), torch.randn(2, 3, 16, 16)
    expected = onnxruntime.InferenceSession(str(run / "model.onnx")).run(None, {"pixels": images.numpy()})[0]
    assert torch.allclose(student(images), torch.from_numpy(expected), atol=1e-3)
    assert "already quantized" in fail("inspect", run / "model.onnx")
    assert "lies in the run folder" in fail("quantize", run / "source.onnx", "--out", run, "--overwrite")
    exported_again = tmp_path / "again.onnx"
    succeed("export", run, "--out", exported_again)
    assert onnxruntime.InferenceSession(str(exported_again)).get_inputs()[0].name == "pixels"


@pytest.mark.parametrize(("op", "names"), [("Relu", ["result"]), ("Split", ["result", "result_1"])])
def test_outputs_that_are_no_logits(op, names, tmp_path):
    path = tmp_path / "net.onnx"
    model = one_operator(op) if op == "Relu" else one_operator(op, np.array([1, 2]), axis=1, outputs=2)
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    assert list(interface_of(network).outputs) == names
    assert [each.shape[1] for each in as_tuple(network(torch.zeros(2, *SHAPE)))] == ([3] if op == "Relu" else [1, 2])


def test_an_output_that_joins_the_images_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(one_operator("ReduceMean", axes=[0], keepdims=0).SerializeToString())
    with pytest.raises(DfqError, match=r"gives 'result' of shape \(3, 8, 8\)"):
        read_onnx(path)


@pytest.mark.slow
def test_a_file_with_several_outputs_is_one_more_opinion_on_what_is_made_of_it(tmp_path):
    path, run = tmp_path / "net.onnx", tmp_path / "run"
    names = ("pixels", "features", "boxes", "classes", "answers")
    exported(trained(Detector()), path, shape=(3, 16, 16), names=names)
    assert "Outputs" in succeed("inspect", path, "--mean", 0.5, "--std", 0.25)
    succeed("quantize", path, "--mean", 0.5, "--std", 0.25, "--images", 16, "--method", "instant", "--out", run)
    assert json.loads((run / "config.json").read_text())["source"] == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    found = json.loads(succeed("validate", run, "--engine", "openvino", "--json"))
    assert [row["name"] for row in found["outputs"]] == list(names[1:])
    (original,) = [row for row in found["engines"] if row["engine"] == "the original file"]
    lowest = min(row["snr_db"]["student_teacher"]["synthetic"] for row in found["outputs"][:3])
    assert original["snr_db"]["synthetic"] == pytest.approx(lowest, abs=0.1), "it gives what the teacher gives"


def test_images_with_channels_last(tmp_path):
    class Last(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.permute(0, 3, 1, 2))

    model = Residual(5).eval()
    network = read_onnx(exported(Last(model), tmp_path / "net.onnx", shape=(16, 16, 3)))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert same_outputs(network(images), model(images))
