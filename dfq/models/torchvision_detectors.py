"""Builds the part of torchvision's detectors that is in front of non-maximum suppression.

torchvision's detectors take a list of images of any sizes, and return as many boxes as they find. What depends on the
values of tensors is at the ends: the images are resized, and boxes are decoded, suppressed and read out. The networks
here are what is in between. They take normalised images of one size, and their tensors have the names that they have
in torchvision's own networks.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet, ssdlite  # type: ignore[import-untyped]
from torchvision.models.detection._utils import retrieve_out_channels  # type: ignore[import-untyped]
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN  # type: ignore[import-untyped]
from torchvision.models.detection.ssd import SSD  # type: ignore[import-untyped]

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models.shapes_only import shapes_only

WHOLE = (FCOS, SSD, RetinaNet, GeneralizedRCNN)
ROI_HEADS = "roi_heads."
# SSDlite's last blocks are half as wide where training did not start from the backbone's published weights.
REDUCED_TAIL = "reduced_tail"
TAIL = "backbone.features.1.0.3.0.weight"  # the first weight that differs
FULL_TAIL = 160  # its number of rows where the tail is full
SSDLITE_SIZE = (320, 320)
STAGES = 6  # number of the backbone's stages whose weights may be trained, which are all
ANCHORS = 6  # number of boxes at each place of a feature map
COCO_CLASSES = 91
# With these weights, torchvision sets ε of the BatchNorm layers to 0, with which they were trained.
WITHOUT_EPSILON = (
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
)
WITHOUT_EPSILON_TAG = "COCO_V1"
# Names in files that were written before convolutions of these parts became blocks.
OLD_PYRAMID = re.compile(r"^(.*\bfpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")
OLD_PROPOSALS = re.compile(r"^(.*\brpn\.head\.conv)\.(weight|bias)$")
OLD_RETINANET = re.compile(r"^(.*\b(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)$")


class HeadsOfBoxes(nn.Module):
    """RetinaNet, FCOS or SSD up to the outputs of its heads.

    It returns a dictionary: `cls_logits` (N, boxes, classes), `bbox_regression` (N, boxes, 4) and, of FCOS,
    `bbox_ctrness` (N, boxes, 1).
    """

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.head(list(self.backbone(images).values()))


class HeadsOfProposals(nn.Module):
    """Faster, Mask or Keypoint R-CNN up to the outputs of its region proposal head.

    It returns a dictionary of dictionaries: `objectness` and `pred_bbox_deltas` of each level, and the feature maps
    that the RoI heads read.

    Args:
        backbone: Backbone with its feature pyramid.
        head: Region proposal head.
        read: Names of the feature maps that the RoI heads read.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, read: Sequence[str]):
        super().__init__()
        self.backbone, self.rpn, self.read = backbone, nn.ModuleDict({"head": head}), tuple(read)

    def forward(self, images: Tensor) -> dict[str, dict[str, Tensor]]:
        features = self.backbone(images)
        objectness, deltas = self.rpn["head"](list(features.values()))
        return {
            "objectness": dict(zip(features, objectness, strict=True)),
            "pred_bbox_deltas": dict(zip(features, deltas, strict=True)),
            "features": {name: features[name] for name in features if name in self.read},
        }


@functools.cache
def names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models.detection)


def build(name: str, **options: Any) -> nn.Module:
    if not options.pop(REDUCED_TAIL, True):
        return _ssdlite_with_full_tail(**options)
    whole = _whole(name, **options)
    if isinstance(whole, GeneralizedRCNN):
        return HeadsOfProposals(whole.backbone, whole.rpn.head, whole.roi_heads.box_roi_pool.featmap_names)
    return HeadsOfBoxes(whole.backbone, whole.head)


def _ssdlite_with_full_tail(num_classes: int = COCO_CLASSES) -> nn.Module:
    """Builds what torchvision makes where the backbone's published weights are loaded, which have the full tail."""
    norm_layer = functools.partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    mobilenet = torchvision.models.mobilenet_v3_large(norm_layer=norm_layer)
    backbone = ssdlite._mobilenet_extractor(mobilenet, STAGES, norm_layer)
    channels = retrieve_out_channels(backbone, SSDLITE_SIZE)
    anchors = [ANCHORS] * len(channels)
    return HeadsOfBoxes(backbone, ssdlite.SSDLiteHead(channels, anchors, num_classes, norm_layer))


def arguments(name: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, bool]:
    """Returns the options of `build`, other than the number of classes, that the tensors of a state dict need."""
    tails = [shape[0] for key, shape in shapes.items() if f".{key}".endswith(f".{TAIL}")]
    return {REDUCED_TAIL: False} if has_tail(name) and tails[:1] == [FULL_TAIL] else {}


def has_tail(name: str) -> bool:
    return name.startswith("ssdlite320_")


@functools.cache
def input_spec(name: str) -> InputSpec:
    """Returns the normalisation of torchvision's network, and the size of its images: its own, or the shorter side."""
    with shapes_only():
        transform = _whole(name).transform
    height, width = transform.fixed_size or (transform.min_size[-1],) * 2
    return InputSpec(size=(3, height, width), mean=tuple(transform.image_mean), std=tuple(transform.image_std))


def has_roi_heads(name: str) -> bool:
    return "rcnn_" in name


def is_outside(name: str, key: str) -> bool:
    """Returns whether `key` belongs to the RoI heads, which are not built."""
    return has_roi_heads(name) and key.startswith(ROI_HEADS)


def outside(name: str) -> str:
    """Returns the sentence on the parts of torchvision's network that are not built."""
    if has_roi_heads(name):
        return (
            "that the boxes' decoding, non-maximum suppression and the RoI heads stay outside: the files give the raw "
            "outputs of the region proposal head, and the feature maps that the RoI heads read"
        )
    return (
        "that the boxes' decoding and non-maximum suppression stay outside: the files give the raw outputs of the heads"
    )


def current_key(name: str, key: str) -> str:
    """Returns the key of today's network for a `key` of an older file."""
    if match := OLD_PYRAMID.match(key):
        return f"{match[1]}.0.{match[2]}"
    if match := OLD_PROPOSALS.match(key):
        return f"{match[1]}.0.0.{match[2]}"
    if name == "retinanet_resnet50_fpn" and (match := OLD_RETINANET.match(key)):
        return f"{match[1]}.{int(match[2]) // 2}.0.{match[3]}"
    return key


def norm_epsilon(name: str, tag: str) -> float | None:
    """Returns ε of the BatchNorm layers for published weights; None: it is the one that is built."""
    return 0.0 if name in WITHOUT_EPSILON and tag == WITHOUT_EPSILON_TAG else None


def refuse_whole(model: nn.Module) -> None:
    """Raises a DfqError for a detector of torchvision's own class, which takes a list of images."""
    if isinstance(model, WHOLE):
        raise DfqError(
            f"{type(model).__name__}, a detector that takes a list of images and ends in non-maximum suppression",
            "a network that maps images (N, channels, height, width) to tensors with a row for each image",
            "pass the checkpoint with --arch torchvision/NAME, or the part in front of non-maximum suppression",
        )


def _whole(name: str, **options: Any) -> Any:
    return torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
