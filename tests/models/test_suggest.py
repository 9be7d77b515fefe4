"""Which architecture a bare state dict is of: found in all libraries, in seconds, without allocating weights."""

import time

import pytest
import torch
from support.checkpoint_cases import refused
from support.checkpoint_networks import under

from dfq.models.registry import build
from dfq.models.shapes_only import shapes_only
from dfq.models.source_files import networks
from dfq.models.suggest import suggest


def weights_of(arch, classes=None):
    with shapes_only():
        return build(arch, classes).state_dict()


TORCHVISION = ["resnet34", "vgg16_bn", "mobilenet_v2", "densenet121", "efficientnet_v2_s", "convnext_tiny", "swin_t"]
TIMM = [
    "resnet26d",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "convnextv2_atto",
    "levit_128",
    "regnety_032",
]


@pytest.mark.parametrize("arch", [f"torchvision/{name}" for name in TORCHVISION])
def test_torchvision(arch):
    assert (arch, 1.0) in suggest(weights_of(arch, 7))


@pytest.mark.parametrize("arch", [f"timm/{name}" for name in TIMM])
def test_timm(arch):
    pytest.importorskip("timm")
    assert suggest(weights_of(arch, 7))[0][1] == 1


@pytest.mark.parametrize("arch", ["dfq/resnet56", "dfq/wrn40_2", "dfq/digits_cnn"])
def test_own(arch):
    assert suggest(weights_of(arch))[0] == (arch, 1.0)


@pytest.mark.parametrize("prefix", ["model.", "module._orig_mod.", "backbone.", "net._orig_mod."])
def test_prefixes_do_not_matter(prefix):
    beside = {"criterion.weight": torch.zeros(10), "val_acc.correct": torch.tensor(3)}
    assert ("torchvision/resnet18", 1.0) in suggest({**under(prefix, weights_of("torchvision/resnet18")), **beside})


def test_wrappers_and_counters_do_not_matter():
    weights = {name.replace("features.", "features.module."): t for name, t in weights_of("torchvision/vgg11").items()}
    counters = {f"{name.rpartition('.')[0]}.total_ops": torch.zeros(1) for name in weights}
    assert suggest({**weights, **counters})[0] == ("torchvision/vgg11", 1.0)


def test_it_ends_soon_where_nothing_fits():
    start = time.thread_time()
    suggest({f"part{index}.conv.weight": torch.zeros(7, 7, 3, 3) for index in range(200)})
    assert time.thread_time() - start < 12  # reading the sources, importing timm, and `SuggestSettings.seconds`


def test_every_network_of_the_libraries_is_listed():
    timm = pytest.importorskip("timm")
    listed = {source.name for source in networks()[0]}
    assert {f"timm/{name}" for name in timm.list_models()} <= listed


def test_shapes_only_is_what_building_gives():
    plain = {name: tensor.shape for name, tensor in build("torchvision/resnet18").state_dict().items()}
    assert {name: tensor.shape for name, tensor in weights_of("torchvision/resnet18").items()} == plain
    assert all(tensor.is_meta for tensor in weights_of("torchvision/resnet18").values())


def test_wrong_arch_names_the_one_that_fits_whole(path):
    torch.save(build("torchvision/resnet34", 5).state_dict(), path)
    error = refused(path, arch="torchvision/resnet18")
    assert "does not fit torchvision/resnet18: " in error.found
    assert error.found.endswith("All of its tensors fit torchvision/resnet34")
    assert error.way_out == "pass --arch torchvision/resnet34"


def test_wrong_arch_with_nothing_that_fits(path):
    weights = weights_of("dfq/resnet20")
    torch.save({**{name: torch.zeros(t.shape) for name, t in weights.items()}, "extra.weight": torch.eye(3)}, path)
    error = refused(path, arch="dfq/resnet32")
    assert "All of its tensors" not in error.found and "--arch NAME" in error.way_out
