"""Checkpoints of torchvision's segmentation networks and detectors, by file and as published weights."""

from collections import OrderedDict

import pytest
import torch
import torchvision
from support.checkpoint_cases import refused
from support.checkpoint_networks import assert_same
from torch import nn

from dfq.checkpoint import describe_network, load_checkpoint
from dfq.errors import DfqError
from dfq.models.registry import build, published_input_spec

LRASPP, DEEPLAB = "torchvision/lraspp_mobilenet_v3_large", "torchvision/deeplabv3_mobilenet_v3_large"
FASTER, SSDLITE = "torchvision/fasterrcnn_mobilenet_v3_large_fpn", "torchvision/ssdlite320_mobilenet_v3_large"
SMALL = {"input_size": (3, 64, 64)}


def whole(arch: str, **options) -> nn.Module:
    """torchvision's own network, with statistics that make its outputs depend on its weights."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(arch.split("/")[1], weights=None, weights_backbone=None, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
    return network


def outputs(model, images) -> dict:
    with torch.inference_mode():
        return model(images)


def assert_equal_outputs(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_segmentation(path, prefix):
    network, images = whole(LRASPP, num_classes=4), torch.randn(1, 3, 64, 64)
    torch.save({f"{prefix}{key}": value for key, value in network.state_dict().items()}, path)
    loaded = load_checkpoint(path, arch=LRASPP, **SMALL)
    assert_equal_outputs(outputs(loaded.model, images), outputs(network, images))
    assert loaded.arch == f'{LRASPP}:{{"num_classes": 4}}'
    assert loaded.input_spec.mean == published_input_spec(LRASPP).mean


@pytest.mark.parametrize("aux", [False, True])
def test_second_output_is_kept_where_the_file_has_it(path, aux):
    network, images = whole(DEEPLAB, aux_loss=aux), torch.randn(1, 3, 64, 64)
    torch.save(network.state_dict(), path)
    loaded = load_checkpoint(path, arch=DEEPLAB, **SMALL)
    assert_equal_outputs(outputs(loaded.model, images), outputs(network, images))
    assert loaded.arch == (f'{DEEPLAB}:{{"aux_loss": true}}' if aux else DEEPLAB)
    assert set(build(loaded.arch).state_dict()) == set(network.state_dict())


def test_second_output_is_left_out_where_the_name_says_so(path):
    torch.save(whole(DEEPLAB, aux_loss=True).state_dict(), path)
    loaded = load_checkpoint(path, arch=f'{DEEPLAB}:{{"aux_loss": false}}', **SMALL)
    assert list(outputs(loaded.model, torch.zeros(1, 3, 64, 64))) == ["out"]


def test_detector_with_other_classes(path):
    network, images = whole(SSDLITE, num_classes=3), torch.randn(1, 3, 96, 96)
    torch.save({"model": network.state_dict()}, path)
    loaded = load_checkpoint(path, arch=SSDLITE, input_size=(3, 96, 96))
    with torch.inference_mode():
        expected = network.head(list(network.backbone(images).values()))
    assert_equal_outputs(outputs(loaded.model, images), expected)
    assert loaded.assumed[0].startswith("that the boxes' decoding and non-maximum suppression stay outside")


def test_detector_without_its_roi_heads(path):
    """The RoI heads may be anyone's; frozen BatchNorm has no counters, and files of before 2022 have older names."""
    network, images = whole(FASTER), torch.randn(1, 3, 64, 64)
    weights = {
        key.replace("rpn.head.conv.0.0", "rpn.head.conv").replace("_blocks.0.0.", "_blocks.0."): value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save({**weights, "roi_heads.box_predictor.cls_score.weight": torch.zeros(2, 7)}, path)
    loaded = load_checkpoint(path, arch=FASTER, **SMALL)
    with torch.inference_mode():
        features = network.backbone(images)
        objectness, deltas = network.rpn.head(list(features.values()))
    found = outputs(loaded.model, images)
    assert_equal_outputs(found["objectness"], dict(zip(features, objectness, strict=True)))
    assert_equal_outputs(found["pred_bbox_deltas"], dict(zip(features, deltas, strict=True)))
    assert_equal_outputs(found["features"], {key: features[key] for key in ("0", "1")})
    assert loaded.arch == FASTER and not [key for key in loaded.model.state_dict() if key.startswith("roi_heads")]
    assert loaded.assumed[0].startswith("that the boxes' decoding, non-maximum suppression and the RoI heads stay")


def test_detector_of_another_kind(path):
    torch.save(whole(FASTER).state_dict(), path)
    error = refused(path, arch="torchvision/fasterrcnn_resnet50_fpn")
    assert "roi_heads" not in error.found and "All of its tensors fit torchvision/fasterrcnn_mobilenet" in error.found


def test_a_bare_file_is_recognised(path):
    torch.save(whole(SSDLITE, num_classes=3).state_dict(), path)
    assert f"{SSDLITE} (100% of the tensors fit)" in refused(path).way_out


def test_detector_in_memory():
    with pytest.raises(DfqError, match="takes a list of images") as caught:
        describe_network(whole(SSDLITE), input_size=(3, 96, 96), mean=0.5, std=0.5)
    assert "--arch torchvision/NAME" in caught.value.way_out


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Puts weights where torchvision keeps those that it has fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return lambda weights, name: torch.save(weights, folder / name)


def test_published_segmentation(published):
    network = whole(DEEPLAB, aux_loss=True)
    published(network.state_dict(), "deeplabv3_mobilenet_v3_large-fc3c493d.pth")
    loaded = load_checkpoint(DEEPLAB, **SMALL)
    assert_same(loaded, network)
    assert loaded.assumed[0].endswith("COCO_WITH_VOC_LABELS_V1 of torchvision")
    assert list(outputs(loaded.model, torch.zeros(1, 3, 64, 64))) == ["out", "aux"]


def test_published_detector_has_the_epsilon_of_its_training(published):
    arch = "torchvision/fasterrcnn_resnet50_fpn"
    published(OrderedDict(build(arch).state_dict()), "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth")
    loaded = load_checkpoint(arch, **SMALL)
    assert {layer.eps for layer in loaded.model.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.0}
    assert any("RoI heads" in each for each in loaded.assumed)
