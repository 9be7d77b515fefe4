"""timm's networks, an optional extra: names, building without weights, published input."""

import functools
import importlib.util
from typing import Any

from torch import nn

from dfq.errors import DfqError
from dfq.input_spec import InputSpec


def installed() -> bool:
    return importlib.util.find_spec("timm") is not None


def require() -> None:
    """Raises a DfqError that says how to get timm, where it is missing."""
    if not installed():
        raise DfqError(
            "timm is not installed",
            "timm for the architectures timm/NAME",
            'pip install "dfq[timm]"',
        )


@functools.cache
def names() -> list[str]:
    if not installed():
        return []
    import timm

    return timm.list_models()


def knows(name: str) -> bool:
    """Registered names only, with or without a weights tag: `hf-hub:…` would need the network."""
    if not installed():
        return False
    import timm

    return timm.is_model(name)


def build(name: str, num_classes: int | None) -> nn.Module:
    import timm

    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    return timm.create_model(name, pretrained=False, **options)


def input_spec(name: str) -> InputSpec | None:
    from timm.models import get_pretrained_cfg

    published = get_pretrained_cfg(name)
    if published is None:
        return None
    channels, height, width = published.input_size
    return InputSpec(size=(channels, height, width), mean=tuple(published.mean), std=tuple(published.std))
