"""Published weights by name, from caches that the tests write; nothing here reaches for the network."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoint_cases import refused
from support.checkpoint_networks import assert_same

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.models import timm_config
from dfq.models.registry import build, published_input_spec

HUB = "hf-hub:someone/small"


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """The folder of torch.hub's cache; a download is an error as without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def unreachable(*args, **kwargs):
    raise OSError("Name or service not known")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    timm_config.fetch_config.cache_clear()
    yield tmp_path / "hub"
    timm_config.fetch_config.cache_clear()


def write_repository(cache: Path, name: str, network, config: dict) -> None:
    """As huggingface_hub lays its cache out."""
    repository, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), snapshot / "model.safetensors")


def test_torchvision(torch_home):
    network = build("torchvision/squeezenet1_1").eval()
    torch.save(network.state_dict(), torch_home / "squeezenet1_1-b8a52dc0.pth")
    for name in ("torchvision/squeezenet1_1", "torchvision/squeezenet1_1.IMAGENET1K_V1"):
        loaded = load_checkpoint(name)
        assert_same(loaded, network)
        assert loaded.arch == "torchvision/squeezenet1_1"
        assert loaded.input_spec == published_input_spec("torchvision/squeezenet1_1")
        assert loaded.assumed == ("the published weights SqueezeNet1_1_Weights.IMAGENET1K_V1 of torchvision",)


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "torchvision/resnet50.IMAGENET1K_V2"])
def test_torchvision_without_cache_and_network(torch_home, name):
    with pytest.raises(DfqError) as caught:
        load_checkpoint(name)
    error = caught.value
    assert f"'{name}' is not in the cache and cannot be fetched: Name or service not known" in error.found
    assert error.needed and "--arch" in error.way_out and error.exit_code == 1
    assert not list(torch_home.iterdir())


def test_torchvision_damaged_cache(torch_home):
    (torch_home / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a file")
    with pytest.raises(DfqError):
        load_checkpoint("torchvision/squeezenet1_1")


def test_unknown_names():
    assert "one of IMAGENET1K_V1, IMAGENET1K_V2" in refused("torchvision/resnet50.V3").needed
    assert "torchvision/resnet18" in refused("torchvision/resnet81").way_out
    assert "no file 'resnet50'" in refused("resnet50").found
    assert "torchvision/resnet50" in refused("resnet50").way_out
    assert "no file 'torchvision/resnet18.pth'" in refused("torchvision/resnet18.pth").found


def test_a_file_of_that_name_goes_first(tmp_path, monkeypatch, model):
    (tmp_path / "torchvision").mkdir()
    monkeypatch.chdir(tmp_path)
    torch.save({"arch": "dfq/digits_cnn", "state_dict": model.state_dict()}, "torchvision/resnet18")
    assert load_checkpoint("torchvision/resnet18").arch == "dfq/digits_cnn"


@pytest.mark.parametrize("options", [{"arch": "dfq/resnet20"}, {"weights": "ema"}])
def test_contradicting_options(options):
    assert f"--{next(iter(options))} beside the published weights" in refused("torchvision/resnet18", **options).found


def test_timm(hub_cache):
    name = "test_resnet.r160_in1k"
    network = build(f"timm/{name}").eval()
    write_repository(hub_cache, f"timm/{name}", network, {"architecture": "test_resnet"})
    for model in (f"timm/{name}", "timm/test_resnet"):
        loaded = load_checkpoint(model)
        assert_same(loaded, network)
        assert (loaded.arch, loaded.input_spec) == (model, published_input_spec(f"timm/{name}"))
        assert loaded.assumed == (f"the published weights '{model}'",)


def test_timm_unknown_tag(hub_cache):
    error = refused("timm/test_resnet.of_tomorrow")
    assert "no published weights 'of_tomorrow'" in error.found and "r160_in1k" in error.needed


def described(**other) -> dict:
    published = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 4}
    return {"architecture": "test_resnet", "num_classes": 4, "pretrained_cfg": {**published, **other}}


def test_hub(hub_cache):
    network = build("timm/test_resnet", 4).eval()
    write_repository(hub_cache, "someone/small", network, described())
    loaded = load_checkpoint(HUB)
    assert_same(loaded, network)
    assert loaded.arch == "timm/test_resnet"
    assert (loaded.input_spec.size, loaded.input_spec.mean) == ((3, 64, 64), (0.1, 0.2, 0.3))
    assert loaded.assumed == (f"the published weights '{HUB}'",)


def test_hub_as_architecture(hub_cache, path):
    network = build("timm/test_resnet", 7).eval()
    write_repository(hub_cache, "someone/small", build("timm/test_resnet", 4), described())
    torch.save(network.state_dict(), path)
    loaded = load_checkpoint(path, arch=HUB)
    assert_same(loaded, network)
    assert (loaded.arch, loaded.input_spec.size) == ("timm/test_resnet", (3, 64, 64))
    assert f"the published configuration of {HUB}" in loaded.assumed[0]


@pytest.mark.parametrize("model", [HUB, "hf-hub:someone/small@v2", "timm/test_resnet", "hf-hub:", "hf-hub:a/b/c"])
def test_without_cache_and_network(hub_cache, model):
    with pytest.raises(DfqError) as caught:
        load_checkpoint(model)
    error = caught.value
    assert "is not in the cache and cannot be fetched" in error.found and "\n" not in error.found
    assert error.needed and error.way_out and error.exit_code == 1
    assert not hub_cache.exists() or not [each for each in hub_cache.rglob("*") if each.suffix == ".incomplete"]


def test_hub_of_transformers(hub_cache):
    config = {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}
    write_repository(hub_cache, "someone/small", build("timm/test_resnet", 4), config)
    assert "of transformers (ResNetForImageClassification)" in refused(HUB).found


def test_nothing_is_fetched_for_an_architecture(torch_home, path):
    network = build("torchvision/squeezenet1_1", 3)
    torch.save(network.state_dict(), path)
    load_checkpoint(path, arch="torchvision/squeezenet1_1")
    assert not list(torch_home.iterdir())


def test_a_file_cannot_have_anything_fetched(path, monkeypatch):
    monkeypatch.setattr(timm_config, "fetch_config", unreachable)
    torch.save({"arch": HUB, "state_dict": build("dfq/resnet20").state_dict()}, path)
    assert refused(path).way_out == f"--arch {HUB}"
    torch.save({"state_dict": build("dfq/resnet20").state_dict(), "hyper_parameters": {"arch": HUB}}, path)
    assert "does not say its architecture" in refused(path).found
