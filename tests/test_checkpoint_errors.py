"""Bad files: one clear error each, with exit code 2, and no code from the file ever runs unasked."""

import contextlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dfq.checkpoint import load_checkpoint, save_checkpoint
from dfq.errors import DfqError
from dfq.input_spec import InputSpec
from dfq.models.registry import build

ARCH = "dfq/digits_cnn"
SPEC = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(ARCH).eval()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def refused(path, **options) -> DfqError:
    with pytest.raises(DfqError) as caught:
        load_checkpoint(path, **options)
    error = caught.value
    assert error.found and error.needed and error.way_out and error.exit_code == 2
    return error


def test_missing_file(path):
    error = refused(path)
    assert f"no file '{path}'" in error.found and "check the path" in error.way_out


def test_directory_names_what_is_in_it(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "inside.pt")
    error = refused(tmp_path)
    assert "is a directory" in error.found and "inside.pt" in error.way_out


def test_empty_file(path):
    path.touch()
    error = refused(path)
    assert "is empty (0 bytes)" in error.found and "again" in error.way_out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(path):
    path.touch(mode=0o000)
    assert "cannot be read" in refused(path).found


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated_torch_file(path, model, legacy, share):
    torch.save({"arch": ARCH, "state_dict": model.state_dict()}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: max(int(len(content) * share), 40)])
    error = refused(path)
    assert "truncated or damaged" in error.found and "again" in error.way_out


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.99])
def test_truncated_safetensors(tmp_path, model, share):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: max(int(len(content) * share), 4)])
    assert "truncated or not a safetensors file" in refused(path, arch=ARCH).found


def test_damaged_bytes_never_escape(path, model):
    """Whatever torch makes of random damage, the caller sees a DfqError or a whole network."""
    torch.save({"arch": ARCH, "state_dict": model.state_dict()}, path)
    content = path.read_bytes()
    generator = numpy.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), size=20):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except DfqError:
            continue


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200), "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(50), "a TensorFlow Lite file"),
        (b"these are not weights\n" * 9, "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"{}", "a text file"),
        (bytes(range(200, 256)) * 4, "unknown binary content"),
        (b"\x00", "a text file"),
    ],
)
def test_foreign_file(path, content, what):
    path.write_bytes(content)
    error = refused(path, arch=ARCH)
    assert what in error.found and "not" in error.found and "state dict" in error.needed


def test_zip_that_is_no_checkpoint(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "a zip archive, not a checkpoint" in refused(path).found


def test_exported_program(tmp_path, model):
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 8, 8),)), path)
    error = refused(path)
    assert "not read yet" in error.found and "state_dict()" in error.way_out
    renamed = path.rename(tmp_path / "model.pt")
    assert "not read yet" in refused(renamed).found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("allow_pickle", [False, True])
def test_torchscript(path, model, allow_pickle):
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, 1, 8, 8)), path)
    error = refused(path, arch=ARCH, allow_pickle=allow_pickle)
    assert "TorchScript" in error.found and "torch.jit.load" in error.way_out


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_network(path, model, legacy):
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    error = refused(path)
    assert "Python objects (dfq.models.digits.DigitsCnn)" in error.found
    assert "state_dict()" in error.way_out and "--allow-pickle" in error.way_out


class Malicious:
    """Writes a file when unpickled, as an attacker's checkpoint would run anything."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "ran")


def write_raw_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def write_old_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_zip(content, path):
    torch.save(content, path)


def write_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


CONTAINERS = [write_raw_pickle, write_old_pickle, write_zip, write_legacy]
NESTINGS = [
    lambda evil, weights: evil,
    lambda evil, weights: {"state_dict": {**weights, "evil": evil}},
    lambda evil, weights: {"arch": ARCH, "state_dict": weights, "args": [evil]},
    lambda evil, weights: OrderedDict({**weights, "conv1.weight": evil}),
]


@pytest.mark.parametrize("write", CONTAINERS)
@pytest.mark.parametrize("nest", NESTINGS, ids=["alone", "in-state-dict", "in-metadata", "as-weight"])
def test_malicious_pickle_runs_only_with_permission(tmp_path, model, write, nest):
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    write(nest(Malicious(marker), model.state_dict()), path)
    for arch in (None, ARCH):
        error = refused(path, arch=arch)
        assert "would run code" in error.found and "only if you trust" in error.way_out
        assert not marker.exists()
    with contextlib.suppress(DfqError):
        load_checkpoint(path, allow_pickle=True)
    assert marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt2", ".pth", ".onnx", ""])
@pytest.mark.parametrize("write", CONTAINERS)
def test_malicious_pickle_under_any_name(tmp_path, write, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"model{suffix}"
    write(Malicious(marker), path)
    refused(path, arch=ARCH)
    assert not marker.exists()


def test_malicious_pickle_inside_torchscript_and_text_protocol(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    evil = pickle.dumps(Malicious(marker), protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("archive/data.pkl", "archive/constants.pkl", "archive/code/x.py"):
            archive.writestr(name, evil)
    refused(path, allow_pickle=False)
    path.write_bytes(pickle.dumps(Malicious(marker), protocol=0))
    refused(path)
    assert not marker.exists()


def test_unpickling_that_fails(path):
    path.write_bytes(pickle.dumps({"a": 1})[:-3])
    assert "does not unpickle" in refused(path, allow_pickle=True).found


def test_checkpoint_cannot_choose_a_python_file(tmp_path, path, model):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    arch = f"{tmp_path / 'evil.py'}:make"
    torch.save({"arch": arch, "state_dict": model.state_dict()}, path)
    assert f"--arch {arch}" in refused(path).way_out
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (3, "holds a int"),
        ([torch.zeros(3)], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, "keys: none"),
        ({"epoch": 3, "state_dict": {}}, "keys: epoch, state_dict"),
        ({0: torch.zeros(3, 3)}, "without tensors"),
        ({"running_mean": torch.zeros(3)}, "none of them of a convolution or linear layer"),
        ({"conv1.weight": torch.zeros(8, 3, 3, 3, dtype=torch.int8)}, "already quantized"),
        ({"conv1.weight": torch.eye(3).to_sparse()}, "a sparse tensor"),
        ({"conv1.weight": torch.zeros(8, 3, 3, 3, device="meta")}, "without data"),
        ({"conv1.weight": torch.zeros(8, 3, 3, 3), "fc.weight": torch.zeros(0, 8)}, "has zero classes"),
        ({"conv1.weight": torch.zeros(8, 0, 3, 3), "fc.weight": torch.zeros(2, 8)}, "is empty"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_no_image_classifier_in_the_file(path, content, found):
    torch.save(content, path)
    assert found in refused(path).found
    assert found in refused(path, arch=ARCH).found


def test_dict_that_holds_itself(path):
    content = {"weight": torch.zeros(2, 2)}
    content["model"] = content
    torch.save(content, path)
    assert "does not look like one for images" in refused(path).found


def test_not_finite_weights_are_named_and_counted(path, model):
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, :2] = float("nan")
        model.linear.bias[1] = float("inf")
    torch.save(model.state_dict(), path)
    error = refused(path, arch=ARCH)
    assert "2 of 9216 values in 'conv2.weight' are NaN or infinite, and in 1 more tensors" in error.found


def test_negative_variance(path, model):
    model.bn4.running_var.fill_(-1)
    torch.save(model.state_dict(), path)
    assert "logits" in refused(path, arch=ARCH).found


def test_without_arch_the_error_shows_and_suggests(path):
    torch.save({"state_dict": build("dfq/resnet32").state_dict()}, path)
    error = refused(path)
    assert "first layer 'conv1.weight' (16, 3, 3, 3)" in error.found
    assert "classifier 'linear.weight' (10, 64)" in error.found
    assert "dfq/resnet32 (100% of the tensors fit)" in error.way_out
    torch.save(build("torchvision/resnet18", 10).state_dict(), path)
    assert "one of: torchvision/resnet18 (" in refused(path).way_out


def test_without_arch_and_nothing_similar(path):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)).state_dict(), path)
    assert "net.py:factory" in refused(path).way_out


def test_unknown_arch_in_the_file(path, model):
    torch.save({"arch": "resnet2O", "state_dict": model.state_dict()}, path)
    error = refused(path)
    assert f"unknown architecture 'resnet2O', as '{path}' says" in error.found
    assert "dfq/resnet20" in error.way_out


def test_wrong_keys_and_shapes_are_listed(path, model):
    weights = model.state_dict()
    for name in [key for key in weights if key.startswith(("bn1", "bn2"))]:
        weights["old_" + name] = weights.pop(name)
    weights["conv2.weight"] = torch.zeros(32, 16, 3, 3)
    torch.save(weights, path)
    error = refused(path, arch=ARCH)
    assert (
        "8 missing from the file: bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var, bn2.weight, …" in error.found
    )
    assert "10 unknown to the architecture: old_bn1.weight" in error.found
    assert "1 of another shape: conv2.weight (32, 16, 3, 3), dfq/digits_cnn has (32, 32, 3, 3)" in error.found
    assert "nothing was loaded" in error.needed and "--arch" in error.way_out


def test_wrong_architecture(path):
    torch.save(build("dfq/resnet20").state_dict(), path)
    error = refused(path, arch="torchvision/resnet18")
    assert "does not fit torchvision/resnet18" in error.found and "of another shape" in error.found


USER_FILE = """
import torch
from torch import nn

def vectors():
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 2))

def text():
    return nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 2))

def segmentation():
    return nn.Conv2d(3, 2, 3)

class Pair(nn.Conv2d):
    def forward(self, images):
        return super().forward(images), images

def pair():
    return Pair(3, 2, 3)
"""


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        ("vectors", "does not take 3x32x32 images (first layer '0': Linear(in_features=20"),
        ("text", "does not take 3x32x32 images"),
        ("segmentation", "returns shape (1, 2, 30, 30)"),
        ("pair", "returns tuple"),
    ],
)
def test_network_that_is_no_image_classifier(tmp_path, path, factory, found):
    (tmp_path / "net.py").write_text(USER_FILE)
    arch = f"{tmp_path / 'net.py'}:{factory}"
    torch.save(build(arch).state_dict(), path)
    half = (0.5, 0.5, 0.5)
    assert found in refused(path, arch=arch, input_size=(3, 32, 32), mean=half, std=half).found


@pytest.mark.parametrize("arch", [None, "torchvision/resnet18"])
def test_weights_of_a_network_for_vectors(path, arch):
    torch.save(nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 2)).state_dict(), path)
    error = refused(path, arch=arch)
    assert "does not look like one for images; first layer '0.weight' (16, 20)" in error.found


def test_other_number_of_channels_than_the_network_takes(path, model):
    save_checkpoint(path, model, ARCH, SPEC)
    half = (0.5, 0.5, 0.5)
    error = refused(path, input_size=(3, 8, 8), mean=half, std=half)
    assert "input size 3x8x8 has 3 channels, the first layer 'conv1' takes 1" in error.found
    assert "--input-size 1x8x8" in error.way_out
    assert "1 means and 1 standard deviations for 3 channels" in refused(path, input_size=(3, 8, 8)).found


def test_images_that_are_too_small(path):
    torch.save(build("torchvision/alexnet", 2).state_dict(), path)
    assert "does not take 3x8x8 images" in refused(path, arch="torchvision/alexnet", input_size=(3, 8, 8)).found


def test_input_that_nobody_states(tmp_path, path):
    (tmp_path / "net.py").write_text(USER_FILE)
    arch = f"{tmp_path / 'net.py'}:segmentation"
    torch.save(build(arch).state_dict(), path)
    error = refused(path, arch=arch)
    assert "input size, mean, std of the images: neither" in error.found
    assert "--input-size 3x224x224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in error.way_out


@pytest.mark.parametrize(
    "metadata",
    [
        {"input_size": "large"},
        {"input_size": [1, 8]},
        {"input_size": [1, 8, 8, 8]},
        {"input_size": [0, 8, 8]},
        {"mean": "bright"},
        {"mean": [None]},
        {"mean": 3},
        {"std": [0.0]},
        {"input_spec": {"size": [1, 8, 8], "mean": {}, "std": [1]}},
    ],
)
def test_malformed_metadata(path, model, metadata):
    torch.save({"arch": ARCH, "state_dict": model.state_dict(), **metadata}, path)
    refused(path)


def test_failed_save_leaves_nothing_and_keeps_the_old_file(path, model, monkeypatch):
    save_checkpoint(path, model, ARCH, SPEC)
    before = path.read_bytes()

    def disk_full(values, file):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(DfqError, match="No space left on device") as caught:
        save_checkpoint(path, model, ARCH, SPEC)
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_save_into_a_missing_folder(tmp_path, model):
    with pytest.raises(DfqError, match="cannot be written"):
        save_checkpoint(tmp_path / "absent" / "model.pt", model, ARCH, SPEC)


def test_saved_checkpoint_is_plain(path, model):
    save_checkpoint(path, model, ARCH, SPEC)
    values = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert set(values) == {"arch", "state_dict", "input_spec"}
