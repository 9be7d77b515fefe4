"""Names as people's files have them: wrappers' parts are taken off where that makes everything fit, and it is said."""

from functools import partial

import pytest
import torch
from support.checkpoint_cases import refused
from support.checkpoint_networks import HALVES, assert_same, load, under, vgg, write_code
from torch import nn

from dfq.checkpoint import load_checkpoint
from dfq.models.registry import build
from dfq.models.settings import SuggestSettings
from dfq.models.suggest import suggest


@pytest.fixture
def arch(tmp_path, monkeypatch):
    # Other tests look for another architecture that fits.
    monkeypatch.setattr("dfq.checkpoint.arch.suggest", partial(suggest, settings=SuggestSettings(seconds=0.1)))
    return write_code(tmp_path)


PREFIXES = ["module.", "_orig_mod.", "model.", "backbone.", "net.", "student.", "encoder.", "module._orig_mod."]


@pytest.mark.parametrize("prefix", [*PREFIXES, "net._orig_mod.", "model.model.network."])
def test_prefix(path, arch, prefix):
    network = vgg()
    torch.save(under(prefix, network.state_dict()), path)
    loaded = load(path, arch)
    assert_same(loaded, network)
    assert loaded.assumed == (f"the network under '{prefix}': this prefix is taken off the names of 16 tensors",)


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "inner"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_wrapper_around_a_part(path, arch, wrapper, prefix):
    """As the PyTorch ImageNet example saves VGG and AlexNet: DataParallel around `features`."""
    network = vgg()
    weights = {name.replace("features.", f"features.{wrapper}."): t for name, t in network.state_dict().items()}
    torch.save(under(prefix, weights), path)
    loaded = load(path, arch)
    assert_same(loaded, network)
    said = f"a wrapper '{wrapper}' in 'features': it is taken off the names of the tensors there"
    assert loaded.assumed[-1] == said and len(loaded.assumed) == 1 + bool(prefix)


def test_real_wrappers(path, arch):
    network = vgg()
    expected = vgg()
    network.features = torch.compile(nn.DataParallel(network.features))
    torch.save({"state_dict": nn.DataParallel(network).state_dict()}, path)
    assert_same(load(path, arch), expected)


def test_wrapped_network_of_a_library(path):
    network = build("torchvision/squeezenet1_1", 4).eval()
    weights = {name.replace("features.", "features.module."): t for name, t in network.state_dict().items()}
    torch.save({"arch": "squeezenet1_1", "state_dict": weights}, path)
    loaded = load_checkpoint(path, arch="torchvision/squeezenet1_1", input_size=(3, 64, 64))
    assert any("a wrapper 'module' in 'features'" in sentence for sentence in loaded.assumed)
    assert torch.equal(loaded.model.classifier[1].weight, network.classifier[1].weight)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_network_whose_only_child_is_called_module(path, arch, prefix):
    network = vgg(name="Outer")
    torch.save(under(prefix, network.state_dict()), path)
    loaded = load(path, arch.replace("Vgg", "Outer"))
    assert_same(loaded, network)
    assert len(loaded.assumed) == bool(prefix)


@pytest.mark.parametrize("children", [{"criterion.weight": 10, "val_acc.correct": 0, "val_acc.total": 0}, {}])
def test_lightning(path, arch, children):
    network = vgg()
    beside = {name: torch.ones(count) if count else torch.tensor(3) for name, count in children.items()}
    content = {
        "state_dict": {**under("model.", network.state_dict()), **beside},
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 0.1, "model_name": "my_vgg"},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3, 3)}}}],
    }
    torch.save(content, path)
    loaded = load(path, arch)
    assert_same(loaded, network)
    left_out = "3 tensors that are not the network's left out: criterion.weight, val_acc.correct, val_acc.total"
    assert loaded.assumed[1:] == ((left_out,) if children else ())


def test_lightning_module_that_is_the_network(path, arch):
    network = vgg()
    beside = {"criterion.weight": torch.ones(10), "val_acc.correct": torch.tensor(3)}
    content = {"state_dict": {**network.state_dict(), **beside}, "pytorch-lightning_version": "2.4.0"}
    torch.save(content, path)
    loaded = load(path, arch)
    assert_same(loaded, network)
    assert "criterion.weight, val_acc.correct" in loaded.assumed[0]
    torch.save(content["state_dict"], path)
    assert "2 unknown to the architecture: criterion.weight" in refused(path, arch=arch, **HALVES).found


def test_lightning_architecture_in_the_hyper_parameters(path):
    network = build("dfq/resnet20").eval()
    content = {"state_dict": under("model.", network.state_dict()), "hyper_parameters": {"model_name": "resnet20"}}
    torch.save({**content, "pytorch-lightning_version": "2.4.0"}, path)
    loaded = load_checkpoint(path)
    assert loaded.arch == "dfq/resnet20"
    assert_same(loaded, network)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_counters_of_thop(path, arch, prefix):
    network = vgg()
    counters = {
        f"{name}{each}": torch.zeros(1) for name in ("", "features.0.") for each in ("total_ops", "total_params")
    }
    torch.save(under(prefix, {**network.state_dict(), **counters}), path)
    loaded = load(path, arch)
    assert_same(loaded, network)
    assert "4 tensors that are not the network's left out" in loaded.assumed[-1]


def test_unknown_tensors_inside_the_network_are_refused(path, arch):
    weights = {**vgg().state_dict(), "features.8.weight": torch.zeros(16, 16, 1, 1)}
    torch.save(under("model.", weights), path)
    assert "1 unknown to the architecture: features.8.weight" in refused(path, arch=arch, **HALVES).found


@pytest.mark.parametrize("change", ["", "features.module."])
def test_a_missing_tensor_is_named_behind_any_prefix(path, arch, change):
    weights = under("model.", vgg().state_dict())
    del weights["model.features.4.weight"]
    torch.save({name.replace("features.", change or "features."): tensor for name, tensor in weights.items()}, path)
    found = refused(path, arch=arch, **HALVES).found
    assert found.endswith(": 1 missing from the file: features.4.weight")


def test_networks_side_by_side_in_one_state_dict(path, arch):
    online, target = vgg(1), vgg(2)
    torch.save({**under("student.", online.state_dict()), **under("teacher.", target.state_dict())}, path)
    error = refused(path, arch=arch, **HALVES)
    assert "2 times, with different weights: under 'student', 'teacher'" in error.found
    assert error.way_out == "name it: --weights student"
    assert_same(load(path, arch, weights="teacher"), target)


def test_averaged_network_beside_the_raw_one_in_one_state_dict(path, arch):
    raw, averaged = vgg(1), vgg(2)
    torch.save({**under("model.", raw.state_dict()), **under("ema_model.", averaged.state_dict())}, path)
    loaded = load(path, arch)
    assert_same(loaded, averaged)
    assert "the averaged weights under 'ema_model'" in loaded.assumed[0] and "--weights model" in loaded.assumed[0]
    assert_same(load(path, arch, weights="model"), raw)


def test_one_network_registered_twice(path, arch):
    network = vgg()
    torch.save({**under("model.", network.state_dict()), **under("net.", network.state_dict())}, path)
    assert_same(load(path, arch), network)
