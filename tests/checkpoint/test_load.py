"""Checkpoints: every accepted form loads whole, every other file is one clear error."""

import argparse
import json
from collections import OrderedDict

import numpy
import pytest
import torch
from safetensors.torch import save_file
from support.checkpoint_cases import ARCH, SPEC
from torch import nn

from dfq.checkpoint import load_checkpoint, save_checkpoint
from dfq.models.registry import build, published_input_spec


def assert_same(loaded, model):
    images = torch.rand(3, *loaded.input_spec.size)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(images), model(images), atol=0, rtol=0)


def prefixed(model, prefix):
    return OrderedDict((prefix + key, value) for key, value in model.state_dict().items())


def test_saved_checkpoint_loads_alone(path, model):
    save_checkpoint(path, model, ARCH, SPEC)
    loaded = load_checkpoint(path)
    assert_same(loaded, model)
    assert (loaded.arch, loaded.input_spec, loaded.assumed) == (ARCH, SPEC, ())
    assert not loaded.model.training
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary file left


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_dict_with_arch(path, model, key, prefix):
    torch.save({"arch": ARCH, "epoch": 3, key: prefixed(model, prefix)}, path)
    loaded = load_checkpoint(path)
    assert_same(loaded, model)
    stripped = (f"the network under '{prefix}': this prefix is taken off the names of 26 tensors",) if prefix else ()
    published = f"input size 1x8x8 and mean/std: the published configuration of {ARCH}"
    assert loaded.assumed == (*stripped, published)


def test_wrapped_networks_keep_their_module_versions(path):
    network = build("torchvision/mnasnet0_5", 4).eval()  # refuses weights without its version number
    torch.save({"arch": "mnasnet0_5", "state_dict": nn.DataParallel(network).state_dict()}, path)
    assert_same(load_checkpoint(path, arch="torchvision/mnasnet0_5", input_size=(3, 64, 64)), network)


def test_averaged_weights(path, model):
    averaged = torch.optim.swa_utils.AveragedModel(model)
    torch.save({"arch": ARCH, "state_dict": averaged.state_dict()}, path)
    assert_same(load_checkpoint(path), model)


@pytest.mark.parametrize("legacy", [False, True])
def test_bare_state_dict(path, model, legacy):
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    assert_same(load_checkpoint(path, arch=ARCH), model)


def test_half_precision_becomes_float32(path, model):
    torch.save(model.half().state_dict(), path)
    assert {p.dtype for p in load_checkpoint(path, arch=ARCH).model.parameters()} == {torch.float32}


def test_flags_go_before_metadata_and_metadata_before_published(path, model):
    weights = model.state_dict()
    torch.save({"arch": ARCH, "state_dict": weights, "mean": [0.1], "std": torch.tensor([0.2])}, path)
    loaded = load_checkpoint(path, mean=[0.3])
    assert (loaded.input_spec.mean, loaded.input_spec.std) == ((0.3,), pytest.approx((0.2,)))
    assert loaded.assumed == (f"input size 1x8x8: the published configuration of {ARCH}",)


def test_timm_style_arguments(path):
    pytest.importorskip("timm")
    network = build("timm/resnet10t", 6).eval()
    arguments = argparse.Namespace(model="resnet10t", img_size=64, mean=[0.5, 0.5, 0.5], std=None, lr=0.1)
    scores = {"metric": numpy.float64(71.2), "epoch": 9}
    torch.save({"arch": "resnet10t", "state_dict": network.state_dict(), "args": arguments, **scores}, path)
    loaded = load_checkpoint(path)
    assert loaded.arch == "timm/resnet10t"
    assert (loaded.input_spec.size, loaded.input_spec.mean) == ((3, 64, 64), (0.5, 0.5, 0.5))
    assert_same(loaded, network)


def test_bare_arch_takes_the_library_that_fits(path):
    pytest.importorskip("timm")
    network = build("timm/efficientnet_b0", 3).eval()
    torch.save({"arch": "efficientnet_b0", "state_dict": network.state_dict()}, path)
    loaded = load_checkpoint(path, input_size=(3, 64, 64))
    assert loaded.arch == "timm/efficientnet_b0"
    assert any("torchvision/efficientnet_b0" in sentence for sentence in loaded.assumed)


@pytest.mark.slow
def test_published_densenet_keys(path):
    network = build("torchvision/densenet121", 2).eval()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for key, v in network.state_dict().items()}
    torch.save(old, path)
    assert_same(load_checkpoint(path, arch="torchvision/densenet121", input_size=(3, 64, 64)), network)


def test_googlenet_with_auxiliary_heads(path):
    network = build("torchvision/googlenet", 2).eval()
    torch.save({**network.state_dict(), "aux1.conv.conv.weight": torch.zeros(128, 512, 1, 1)}, path)
    assert_same(load_checkpoint(path, arch="torchvision/googlenet", input_size=(3, 64, 64)), network)


def test_safetensors(tmp_path, model):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    assert_same(load_checkpoint(path, arch=ARCH), model)
    save_file(model.state_dict(), path, metadata={"arch": ARCH, "input_spec": json.dumps(SPEC.to_dict())})
    loaded = load_checkpoint(path)
    assert (loaded.arch, loaded.input_spec, loaded.assumed) == (ARCH, SPEC, ())
    assert_same(loaded, model)


@pytest.mark.parametrize("arch", [ARCH, "torchvision/squeezenet1_1", "torchvision/mobilenet_v3_small"])
def test_number_of_classes_comes_from_the_weights(path, arch):
    network, spec = build(arch, 17).eval(), published_input_spec(arch)
    torch.save(network.state_dict(), path)
    with torch.inference_mode():
        assert load_checkpoint(path, arch=arch).model(torch.zeros(1, *spec.size)).shape == (1, 17)


USER_FILE = """
from torch import nn

def make(num_classes=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def test_user_file_with_other_number_of_classes(tmp_path, path):
    (tmp_path / "net.py").write_text(USER_FILE)
    arch = f"{tmp_path / 'net.py'}:make"
    network = build(arch, 8).eval()
    torch.save(
        {"state_dict": network.state_dict(), "input_spec": published_input_spec("dfq/resnet20").to_dict()},
        path,
    )
    loaded = load_checkpoint(path, arch=arch)
    assert_same(loaded, network)
    assert loaded.assumed == ()


def test_pickled_network_with_permission(path, model):
    torch.save({"model": model, "arch": "ignored"}, path)
    loaded = load_checkpoint(path, input_size=(1, 8, 8), mean=[0.5], std=[0.5], allow_pickle=True)
    assert loaded.arch == "pickle/DigitsCnn"
    assert_same(loaded, model)


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "correct"), [("resnet20", 915), ("resnet56", 926)])
def test_shared_cifar_checkpoint_accuracy(shared_data, name, correct):
    loaded = load_checkpoint(shared_data / "cifar10" / f"{name}.th", arch=f"dfq/{name}")
    with numpy.load(shared_data / "cifar10" / "test_1000.npz") as arrays:
        hits = count_correct(loaded, arrays["images"], arrays["labels"])
    assert abs(hits - correct) <= 1  # one image may lie on the edge between two classes


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("file", "factory", "least"),
    [("mobilenet_v2.pt", "mobilenet_v2", 0.7), ("mobilenet_v1_0.25.pt", "mobilenet_v1_025", 0.4)],
)
def test_shared_mobilenet_accuracy(shared_data, file, factory, least):
    folder = shared_data / "imagenet"
    loaded = load_checkpoint(
        folder / file,
        arch=f"{folder / 'mobilenet.py'}:{factory}",
        input_size=(3, 224, 224),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    with numpy.load(folder / "labelled_500.npz") as arrays:
        images, labels = arrays["images"][:100], arrays["labels"][:100]
    assert count_correct(loaded, images, labels) >= least * 100


def count_correct(loaded, images, labels):
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        parts = [loaded.model(loaded.input_spec.normalize(part)).argmax(1) for part in pixels.split(100)]
    return int((torch.cat(parts) == torch.from_numpy(labels)).sum())
