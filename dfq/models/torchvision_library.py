"""torchvision's classification networks: names, building without weights, published input."""

import functools
import re
from typing import Any

import torchvision  # type: ignore[import-untyped]
from torch import nn

from dfq.input_spec import InputSpec

# Training-only heads are not built, and the slow truncated-normal initialisation is skipped.
BUILD_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
AUXILIARY_HEADS: dict[str, tuple[str, ...]] = {
    "googlenet": ("aux1.", "aux2."),
    "inception_v3": ("AuxLogits.",),
}
# With published weights these turn ImageNet-normalised input into (pixel − 0.5) / 0.5 (`transform_input`).
# Stating 0.5 as the normalisation is the same arithmetic, without the extra operations.
HALF = (0.5, 0.5, 0.5)
CENTRED = ("googlenet", "inception_v3")
BUILT_SIZE = {"vit_h_14": 224}  # its default weights are for 518 pixels, the network that is built is for 224
LEGACY_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


@functools.cache
def names() -> list[str]:
    return torchvision.models.list_models(module=torchvision.models)


def build(name: str, num_classes: int | None) -> nn.Module:
    options = dict(BUILD_OPTIONS.get(name, {}))
    if num_classes is not None:
        options["num_classes"] = num_classes
    return torchvision.models.get_model(name, weights=None, **options)


def input_spec(name: str) -> InputSpec:
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    side = BUILT_SIZE.get(name, transforms.crop_size[0])
    if name in CENTRED:
        return InputSpec(size=(3, side, side), mean=HALF, std=HALF)
    return InputSpec(size=(3, side, side), mean=tuple(transforms.mean), std=tuple(transforms.std))


def current_key(name: str, key: str) -> str | None:
    """The key of today's network for a `key` of a published file; None for heads that only training uses."""
    if key.startswith(AUXILIARY_HEADS.get(name, ())):
        return None
    if name.startswith("densenet") and (match := LEGACY_DENSENET_KEY.match(key)):
        return match[1] + match[2]
    return key
