"""Weights that are not those of the network, or of no image classifier: one clear error each, with exit code 2."""

import pytest
import torch
from support.checkpoint_cases import ARCH, SPEC, refused
from torch import nn

from dfq.checkpoint import save_checkpoint
from dfq.models.registry import build


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

class Pixels(nn.Conv2d):
    def forward(self, images):
        return super().forward(images).flatten()

def pixels():
    return Pixels(3, 2, 3)

class Boxes(nn.Conv2d):
    def forward(self, images):
        return {"boxes": super().forward(images).tolist()}

def boxes():
    return Boxes(3, 2, 3)

class Nothing(nn.Conv2d):
    def forward(self, images):
        return super().forward(images)[:, :, :0]

def nothing():
    return Nothing(3, 2, 3)

class Infinite(nn.Conv2d):
    def forward(self, images):
        return {"mask": super().forward(images), "depth": super().forward(images) / 0}

def infinite():
    return Infinite(3, 2, 3)
"""


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        ("vectors", "does not take 3x32x32 images (first layer '0': Linear(in_features=20"),
        ("text", "does not take 3x32x32 images"),
        ("pixels", "Pixels gives 'output' of shape (1800,) for 1 images"),
        ("boxes", "Boxes gives no tensor, but dict"),
        ("nothing", "Nothing gives 'output' of shape (1, 2, 0, 30) for 1 images"),
        ("infinite", "the depth of a black image are NaN or infinite"),
    ],
)
def test_network_that_is_none_of_images(tmp_path, path, factory, found):
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
        {"mean": {"red": 0.5}},
        {"std": [0.0]},
        {"input_spec": {"size": [1, 8, 8], "mean": {}, "std": [1]}},
    ],
)
def test_malformed_metadata(path, model, metadata):
    torch.save({"arch": ARCH, "state_dict": model.state_dict(), **metadata}, path)
    refused(path)
