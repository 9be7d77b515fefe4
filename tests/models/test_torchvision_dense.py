"""torchvision's segmentation networks, and its detectors in front of non-maximum suppression."""

import pytest
import torch
import torchvision

from dfq.errors import DfqError
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD
from dfq.models import torchvision_detectors as detectors
from dfq.models import torchvision_library as library
from dfq.models.own_input import own_input
from dfq.models.registry import build, known_names, published_input_spec
from dfq.models.shapes_only import shapes_only
from dfq.models.suggest import suggest

WITH_AUX = ("fcn_", "deeplabv3_")


def whole(name: str, **options):
    """torchvision's own network, with nothing but shapes."""
    with shapes_only():
        return torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)


def shapes(network) -> dict:
    return {key: tensor.shape for key, tensor in network.state_dict().items()}


def given(name: str, side: int) -> dict:
    """Shapes of what the network gives for two images."""
    with shapes_only():
        return build(f"torchvision/{name}").eval()(torch.empty(2, 3, side, side))


@pytest.mark.parametrize("name", [*library.segmentation_names(), *detectors.names()])
def test_tensors_are_those_of_torchvision(name):
    options = {"aux_loss": True} if name.startswith(WITH_AUX) else {}
    own = shapes(whole(name, num_classes=5, **options))
    fitted = library.fitted(name, {f"model.{key}": shape for key, shape in own.items()})
    with shapes_only():
        network = build(f"torchvision/{fitted}")
    assert shapes(network) == {key: shape for key, shape in own.items() if not library.is_outside(name, key)}
    assert library.fitted(name, shapes(whole(name))) == name
    assert published_input_spec(f"torchvision/{fitted}") == published_input_spec(f"torchvision/{name}")


@pytest.mark.parametrize("name", library.segmentation_names())
def test_segmentation_gives_a_map_of_the_size_of_the_images(name):
    outputs = given(name, 64)
    assert {key: value.shape for key, value in outputs.items()} == {"out": (2, 21, 64, 64)}


@pytest.mark.parametrize(
    ("name", "side", "boxes"),
    [
        ("retinanet_resnet50_fpn", 64, 774),
        ("fcos_resnet50_fpn", 64, 86),
        ("ssd300_vgg16", 300, 8732),
        ("ssdlite320_mobilenet_v3_large", 320, 3234),
    ],
)
def test_detector_gives_what_its_heads_give(name, side, boxes):
    outputs = given(name, side)
    assert outputs["cls_logits"].shape == (2, boxes, 91) and outputs["bbox_regression"].shape == (2, boxes, 4)
    assert ("bbox_ctrness" in outputs) == name.startswith("fcos")


@pytest.mark.parametrize("name", [name for name in detectors.names() if detectors.has_roi_heads(name)])
def test_detector_with_proposals_gives_these_and_feature_maps(name):
    outputs = given(name, 64)
    levels, maps = list(outputs["objectness"]), list(outputs["features"])
    assert list(outputs["pred_bbox_deltas"]) == levels == [*maps, "pool"]
    assert maps == (["0", "1", "2", "3"] if "resnet50" in name else ["0", "1"])
    assert all(outputs["features"][level].shape[:2] == (2, 256) for level in maps)
    assert outputs["objectness"]["0"].shape[1] * 4 == outputs["pred_bbox_deltas"]["0"].shape[1]


@pytest.mark.parametrize("full", [False, True])
def test_ssdlite_that_began_with_a_published_backbone(full):
    """torchvision makes the last blocks of the backbone half as wide where it does not load published weights."""
    with shapes_only(), pytest.MonkeyPatch.context() as patch:
        published = torchvision.models.MobileNet_V3_Large_Weights.DEFAULT
        patch.setattr(type(published), "get_state_dict", lambda self, **options: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, weights: None)
        name = "ssdlite320_mobilenet_v3_large"
        own = torchvision.models.get_model(name, weights_backbone=published if full else None, num_classes=7)
    fitted = library.fitted(name, shapes(own))
    assert ("reduced_tail" in fitted) == full
    with shapes_only():
        assert shapes(build(f"torchvision/{fitted}")) == shapes(own)


def test_ssd_computes_what_torchvision_computes():
    """torchvision's detector gives the same outputs of its heads for an image that is neither scaled nor normalised."""
    name, seen = "ssdlite320_mobilenet_v3_large", []
    torch.manual_seed(0)
    published = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4).eval()
    published.head.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    network = build(f"torchvision/{name}", 4).eval()
    network.load_state_dict(published.state_dict())
    pixels = torch.rand(1, 3, 320, 320)
    with torch.inference_mode():
        published([pixels[0]])
        outputs = network(published_input_spec(f"torchvision/{name}").normalize(pixels))
    for key, value in seen[0].items():
        torch.testing.assert_close(outputs[key], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "side", "mean", "std"),
    [
        ("fcn_resnet50", 520, IMAGENET_MEAN, IMAGENET_STD),
        ("retinanet_resnet50_fpn", 800, IMAGENET_MEAN, IMAGENET_STD),
        ("keypointrcnn_resnet50_fpn", 800, IMAGENET_MEAN, IMAGENET_STD),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 320, IMAGENET_MEAN, IMAGENET_STD),
        ("ssd300_vgg16", 300, (0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
        ("ssdlite320_mobilenet_v3_large", 320, (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_published_input(name, side, mean, std):
    spec = published_input_spec(f"torchvision/{name}")
    assert (spec.size, spec.mean, spec.std) == ((3, side, side), mean, std)


def test_names():
    known = known_names()
    assert {"torchvision/lraspp_mobilenet_v3_large", "torchvision/fasterrcnn_resnet50_fpn_v2"} <= set(known)
    assert not [name for name in known if name.startswith(("torchvision/quantized", "torchvision/r3d"))]
    with pytest.raises(DfqError) as caught:
        build("torchvision/fcn_resnet51")
    assert "torchvision/fcn_resnet50" in caught.value.way_out


@pytest.mark.parametrize(
    "name",
    [
        'resnet18:{"num_classes": 5}',
        'ssd300_vgg16:{"aux_loss": true}',
        'fcn_resnet50:{"num_classes": 0}',
        'fcn_resnet50:{"weights": "DEFAULT"}',
        'fcn_resnet50:{"aux_loss": 1}',
    ],
)
def test_other_arguments_are_refused(name):
    with pytest.raises(DfqError, match="the argument '"):
        build(f"torchvision/{name}")


def test_arguments_that_are_no_json():
    with pytest.raises(DfqError, match="unknown architecture"):
        build("torchvision/fcn_resnet50:{aux}")


@pytest.mark.parametrize(
    ("name", "key", "today"),
    [
        ("fasterrcnn_resnet50_fpn", "backbone.fpn.inner_blocks.2.weight", "backbone.fpn.inner_blocks.2.0.weight"),
        ("fasterrcnn_resnet50_fpn", "model.rpn.head.conv.bias", "model.rpn.head.conv.0.0.bias"),
        ("retinanet_resnet50_fpn", "head.regression_head.conv.6.bias", "head.regression_head.conv.3.0.bias"),
        ("retinanet_resnet50_fpn", "head.regression_head.conv.3.0.bias", "head.regression_head.conv.3.0.bias"),
        ("fcos_resnet50_fpn", "head.regression_head.conv.6.bias", "head.regression_head.conv.6.bias"),
        ("fcn_resnet50", "classifier.4.weight", "classifier.4.weight"),
    ],
)
def test_names_of_older_files(name, key, today):
    assert library.current_key(name, key) == today


@pytest.mark.parametrize(
    "name",
    ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "maskrcnn_resnet50_fpn", "fcos_resnet50_fpn"],
)
def test_suggestions(name):
    assert suggest(whole(name, num_classes=7).state_dict())[0] == (f"torchvision/{name}", 1.0)


def test_input_of_a_segmentation_network_in_memory():
    spec, whose = own_input(whole("fcn_resnet101", num_classes=3))
    assert (spec.size, spec.mean, whose) == ((3, 520, 520), IMAGENET_MEAN, "torchvision's FCN")
    assert own_input(whole("lraspp_mobilenet_v3_large"))[1] == "torchvision/lraspp_mobilenet_v3_large"


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "ssd300_vgg16", "fcos_resnet50_fpn"])
def test_detector_in_memory_is_refused(name):
    with pytest.raises(DfqError, match="a detector that takes a list of images") as caught:
        own_input(whole(name))
    assert "with --arch torchvision/NAME" in caught.value.way_out


def test_epsilon_of_published_weights():
    """torchvision computes with another epsilon where, and only where, it says so itself."""
    assert detectors.norm_epsilon("maskrcnn_resnet50_fpn", "COCO_V1") == 0
    assert detectors.norm_epsilon("keypointrcnn_resnet50_fpn", "COCO_LEGACY") is None
    assert detectors.norm_epsilon("retinanet_resnet50_fpn_v2", "COCO_V1") is None
