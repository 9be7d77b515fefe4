"""Lists and builds torchvision's networks, and finds their published inputs.

These are the classification and segmentation networks, and the parts of detectors that are in front of non-maximum
suppression. A name of the latter two may end with arguments as JSON, where a checkpoint was made with other than the
default ones: `fcn_resnet50:{"num_classes": 5, "aux_loss": true}`.
"""

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torchvision  # type: ignore[import-untyped]
from torch import nn

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models import torchvision_detectors as detectors
from dfq.models.timm_library import split_arguments

# Training-only heads are not built, and the slow truncated-normal initialisation is skipped.
BUILD_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
AUXILIARY_HEADS: dict[str, tuple[str, ...]] = {
    "googlenet": ("aux1.", "aux2."),
    "inception_v3": ("AuxLogits.",),
}
# With published weights, these turn ImageNet-normalised input into (pixel − 0.5) / 0.5 (`transform_input`).
# Stating 0.5 as the normalisation is the same arithmetic without the extra operations.
HALF = (0.5, 0.5, 0.5)
CENTRED = ("googlenet", "inception_v3")
BUILT_SIZE = {"vit_h_14": 224}  # its default weights are for 518 pixels, but the network that is built is for 224
LEGACY_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")

SECOND_OUTPUT = "aux_classifier."  # keys of the head that gives a segmentation network its output `aux`
# The weight that tells the classes of a segmentation network or detector, and its number of rows for each class.
CLASSIFIERS = {
    "fcn": ("classifier.4.weight", 1),
    "deeplabv3": ("classifier.4.weight", 1),
    "lraspp": ("classifier.low_classifier.weight", 1),
    "fcos": ("head.classification_head.cls_logits.weight", 1),
    "retinanet": ("head.classification_head.cls_logits.weight", 9),
    "ssd300": ("head.classification_head.module_list.0.weight", 4),
    "ssdlite320": ("head.classification_head.module_list.0.1.weight", 6),
}
# Parts of segmentation networks and detectors, and how the names begin of those that have them. The first fit counts.
PARTS: tuple[tuple[set[str], tuple[str, ...]], ...] = (
    ({"backbone", "classifier"}, ("fcn_", "deeplabv3_", "lraspp_")),
    ({"backbone", "head"}, ("fcos_", "retinanet_", "ssd300_", "ssdlite320_")),
    ({"backbone", "rpn", "roi_heads.mask_head"}, ("maskrcnn_",)),
    ({"backbone", "rpn", "roi_heads.keypoint_head"}, ("keypointrcnn_",)),
    ({"backbone", "rpn"}, ("fasterrcnn_",)),
)


@functools.cache
def names() -> list[str]:
    return [*torchvision.models.list_models(module=torchvision.models), *segmentation_names(), *detectors.names()]


@functools.cache
def segmentation_names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models.segmentation)


def with_parts_of(keys: Iterable[str]) -> list[str]:
    """Lists the segmentation networks or detectors whose parts are among these keys of a state dict."""
    parts = {part for key in keys for part in (key.partition(".")[0], ".".join(key.split(".")[:2]))}
    return next((_beginning_with(kinds) for needed, kinds in PARTS if needed <= parts), [])


def _beginning_with(kinds: tuple[str, ...]) -> list[str]:
    return [name for name in segmentation_names() + detectors.names() if name.startswith(kinds)]


def knows(name: str) -> bool:
    """Returns whether there is a network of that name, with or without arguments."""
    try:
        return split_arguments(name)[0] in names()
    except ValueError:
        return False


def is_detector(name: str) -> bool:
    return split_arguments(name)[0] in detectors.names()


def build(name: str, num_classes: int | None) -> nn.Module:
    plain, arguments = split_arguments(name)
    _check(plain, arguments)
    options = {**BUILD_OPTIONS.get(plain, {}), **arguments}
    if num_classes is not None:
        options.setdefault("num_classes", num_classes)
    if plain in detectors.names():
        return detectors.build(plain, **options)
    if plain in segmentation_names():
        options["weights_backbone"] = None
    return torchvision.models.get_model(plain, weights=None, **options)


def _check(name: str, arguments: dict[str, Any]) -> None:
    kinds: dict[str, type] = {"num_classes": int} if name in detectors.names() + segmentation_names() else {}
    if name in segmentation_names():
        kinds["aux_loss"] = bool
    if detectors.has_tail(name):
        kinds[detectors.REDUCED_TAIL] = bool
    for key, value in arguments.items():
        is_right_kind = type(value) is kinds.get(key)
        if not is_right_kind or (key == "num_classes" and value < 1):
            raise DfqError(
                f"the argument '{key}' = {value!r} of torchvision/{name}",
                f"one of {', '.join(kinds)}, with a value of its kind" if kinds else "a name without arguments",
                "leave it out",
            )


def fitted(name: str, shapes: Mapping[str, Sequence[int]]) -> str:
    """Returns the name of the segmentation network or detector with what a state dict needs: outputs, classes, widths.

    These are arguments, which are left out where they are the default ones. Names of classification networks stay as
    they are.
    """
    plain, stated = split_arguments(name)
    if plain not in segmentation_names() + detectors.names():
        return name
    found: dict[str, Any] = {}
    if (classes := _classes(plain, shapes)) not in (None, len(published_weights(plain).meta["categories"])):
        found["num_classes"] = classes
    if plain in segmentation_names() and any(f".{SECOND_OUTPUT}" in f".{key}" for key in shapes):
        found["aux_loss"] = True
    arguments = {**found, **detectors.arguments(plain, shapes), **stated}
    return f"{plain}:{json.dumps(arguments)}" if arguments else plain


def _classes(name: str, shapes: Mapping[str, Sequence[int]]) -> int | None:
    classifier, rows = CLASSIFIERS.get(name.partition("_")[0], ("", 1))
    found = [shape[0] for key, shape in shapes.items() if classifier and f".{key}".endswith(f".{classifier}")]
    return found[0] // rows if found and found[0] >= rows and found[0] % rows == 0 else None


def input_spec(name: str, tag: str | None = None) -> InputSpec:
    """Returns the published input of the weights `tag` (such as `IMAGENET1K_V1`), or of the default ones."""
    name = split_arguments(name)[0]
    weights = published_weights(name, tag)
    if name in detectors.names():
        return detectors.input_spec(name)
    transforms = weights.transforms()
    side = (transforms.resize_size if name in segmentation_names() else transforms.crop_size)[0]
    if name in CENTRED:
        return InputSpec(size=(3, side, side), mean=HALF, std=HALF)
    return InputSpec(size=(3, side, side), mean=tuple(transforms.mean), std=tuple(transforms.std))


def published_weights(name: str, tag: str | None = None) -> Any:
    """Returns torchvision's entry for the weights of that tag, or for the default ones that fit the built network.

    Raises:
        DfqError: There is no such tag.
    """
    name = split_arguments(name)[0]
    entries = torchvision.models.get_model_weights(name)
    if tag is None:
        side = BUILT_SIZE.get(name)
        if side is None:
            return entries.DEFAULT
        return next(each for each in entries if each.transforms().crop_size[0] == side)
    if tag not in entries.__members__:
        raise DfqError(
            f"no published weights '{tag}' of torchvision/{name}",
            f"one of {', '.join(entries.__members__)}",
            f"torchvision/{name}.{next(iter(entries.__members__))}, or torchvision/{name} for the default ones",
        )
    return entries[tag]


def current_key(name: str, key: str) -> str:
    """Returns the key of today's network for a `key` of a published file."""
    if name.startswith("densenet") and (match := LEGACY_DENSENET_KEY.match(key)):
        return match[1] + match[2]
    return detectors.current_key(split_arguments(name)[0], key) if is_detector(name) else key


def is_outside(name: str, key: str) -> bool:
    """Returns whether `key` belongs to a part that is not built: a head for training or not asked for, or RoI heads."""
    plain, arguments = split_arguments(name)
    auxiliary = (SECOND_OUTPUT,) if arguments.get("aux_loss") is False else AUXILIARY_HEADS.get(plain, ())
    return key.startswith(auxiliary) or (plain in detectors.names() and detectors.is_outside(plain, key))


def said_of(name: str) -> tuple[str, ...]:
    """Returns a sentence on the parts that are not built and that inference uses, if there are such parts."""
    return (detectors.outside(name),) if is_detector(name) else ()


def names_in(module: str) -> list[str]:
    """Lists the networks that a module of torchvision makes; for `torchvision.models.resnet` these are resnet18, …"""
    return [name for name in names() if torchvision.models.get_model_builder(name).__module__ == module]
