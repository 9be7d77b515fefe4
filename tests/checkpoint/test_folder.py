"""Folders of `save_pretrained` and timm's `save_for_hf`."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoint_cases import refused
from support.checkpoint_networks import HALVES, assert_same, vgg, write_code

from dfq.checkpoint import load_checkpoint
from dfq.models.registry import build

timm = pytest.importorskip("timm")
CONFIG = {"architecture": "test_resnet", "num_classes": 4}
INPUT = {"input_size": [3, 96, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "saved").mkdir()
    return tmp_path / "saved"


def write(folder, network, config, file="model.safetensors"):
    (folder / "config.json").write_text(json.dumps(config))
    if file.endswith(".safetensors"):
        save_file(network.state_dict(), folder / file)
    else:
        torch.save(network.state_dict(), folder / file)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("nested", [True, False])
def test_folder(folder, file, nested):
    network = build("timm/test_resnet", 4).eval()
    write(folder, network, {**CONFIG, **({"pretrained_cfg": INPUT} if nested else INPUT)}, file)
    loaded = load_checkpoint(folder)
    assert_same(loaded, network)
    assert loaded.arch == "timm/test_resnet"
    assert (loaded.input_spec.size, loaded.input_spec.mean) == ((3, 96, 64), (0.1, 0.2, 0.3))
    assert loaded.assumed == ()
    assert load_checkpoint(folder, mean=0.5).input_spec.mean == (0.5, 0.5, 0.5)


def test_folder_that_timm_writes(folder):
    from timm.models import save_for_hf

    network = build("timm/test_resnet", 4).eval()
    save_for_hf(network, folder)
    loaded = load_checkpoint(folder)
    assert_same(loaded, network)
    assert loaded.arch == "timm/test_resnet"
    assert loaded.input_spec.size == network.pretrained_cfg["input_size"]


def test_arguments_of_the_network(folder):
    network = timm.create_model("test_resnet", in_chans=1, num_classes=4).eval()
    described = {"input_size": [1, 32, 32], "mean": [0.5], "std": [0.25]}
    write(folder, network, {**CONFIG, "pretrained_cfg": described, "model_args": {"in_chans": 1, "num_classes": 4}})
    loaded = load_checkpoint(folder)
    assert_same(loaded, network)
    assert loaded.arch == 'timm/test_resnet:{"in_chans": 1}'
    assert build(loaded.arch, 4).conv1[0].in_channels == 1  # as a run folder rebuilds it
    assert loaded.input_spec.size == (1, 32, 32)


@pytest.mark.parametrize("argument", ["checkpoint_path", "pretrained", "pretrained_cfg", "cache_dir"])
def test_arguments_that_would_read_files_are_refused(folder, argument):
    write(folder, build("timm/test_resnet", 4), {**CONFIG, "model_args": {argument: "/etc/passwd"}})
    assert f"the argument '{argument}' of timm/test_resnet" in refused(folder).found


def test_shards(folder):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors.index.json").write_text("{}")
    error = refused(folder)
    assert "in several files (model.safetensors.index.json)" in error.found and "torch.save" in error.way_out


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"architectures": ["ResNetForImageClassification"]}, "of transformers (ResNetForImageClassification)"),
        ({"hidden": 3}, "but not timm's"),
        (["a"], "but not timm's"),
        ({"architecture": "resnet_of_tomorrow"}, "unknown architecture 'timm/resnet_of_tomorrow'"),
    ],
)
def test_config_of_somebody_else(folder, tmp_path, config, found):
    network = vgg()
    write(folder, network, config)
    error = refused(folder)
    assert found in error.found and "--arch" in error.way_out
    assert_same(load_checkpoint(folder, arch=write_code(tmp_path), **HALVES), network)


def test_damaged_config(folder):
    write(folder, vgg(), {})
    (folder / "config.json").write_text("{")
    assert "config.json' cannot be read" in refused(folder).found


def test_config_without_a_usable_input(folder):
    write(folder, build("timm/test_resnet", 4), {**CONFIG, "pretrained_cfg": {"mean": 3, "input_size": "large"}})
    assert "the published configuration of timm/test_resnet" in load_checkpoint(folder).assumed[0]


def test_weights_without_config(folder):
    network = build("dfq/resnet20").eval()
    save_file(network.state_dict(), folder / "model.safetensors")
    assert_same(load_checkpoint(folder, arch="dfq/resnet20"), network)
    assert "dfq/resnet20 (100%" in refused(folder).way_out


def test_without_timm(folder, monkeypatch):
    write(folder, build("timm/test_resnet", 4), CONFIG)
    monkeypatch.setattr("dfq.models.timm_library.installed", lambda: False)
    assert "timm is not installed" in refused(folder).found
