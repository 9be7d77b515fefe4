"""Lists and builds torchvision's classification networks, and finds their published inputs."""

import functools
import re
from typing import Any

import torchvision  # type: ignore[import-untyped]
from torch import nn

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec

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


@functools.cache
def names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def build(name: str, num_classes: int | None) -> nn.Module:
    options = dict(BUILD_OPTIONS.get(name, {}))
    if num_classes is not None:
        options["num_classes"] = num_classes
    return torchvision.models.get_model(name, weights=None, **options)


def input_spec(name: str, tag: str | None = None) -> InputSpec:
    """Returns the published input of the weights `tag` (such as `IMAGENET1K_V1`), or of the default ones."""
    transforms = published_weights(name, tag).transforms()
    side = transforms.crop_size[0]
    if name in CENTRED:
        return InputSpec(size=(3, side, side), mean=HALF, std=HALF)
    return InputSpec(size=(3, side, side), mean=tuple(transforms.mean), std=tuple(transforms.std))


def published_weights(name: str, tag: str | None = None) -> Any:
    """Returns torchvision's entry for the weights of that tag, or for the default ones that fit the built network.

    Raises:
        DfqError: There is no such tag.
    """
    entries = torchvision.models.get_model_weights(name)
    if tag is None:
        side = BUILT_SIZE.get(name)
        return next((each for each in entries if each.transforms().crop_size[0] == side), entries.DEFAULT)
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
    return key


def is_training_only(name: str, key: str) -> bool:
    """Returns whether `key` belongs to an auxiliary head, which only training uses and which is not built."""
    return key.startswith(AUXILIARY_HEADS.get(name, ()))


def names_in(module: str) -> list[str]:
    """Lists the networks that a module of torchvision makes; for `torchvision.models.resnet` these are resnet18, …"""
    return [name for name in names() if torchvision.models.get_model_builder(name).__module__ == module]
