"""Lists and builds the networks of timm, an optional extra, and finds their published inputs.

A name may end with timm's arguments as JSON, where a checkpoint was made with other than the default ones: what
`save_pretrained` notes as `model_args` becomes `resnet18:{"in_chans": 1}`.
"""

import functools
import importlib.util
import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec

RGB = 3
# Arguments that begin with these are refused: with some of them, timm would read files.
NO_ARGUMENTS = ("pretrained", "checkpoint", "cache_dir", "num_classes", "features_only")


def installed() -> bool:
    return importlib.util.find_spec("timm") is not None


def require() -> None:
    """Raises a DfqError that says how to get timm where it is missing."""
    if not installed():
        raise DfqError(
            "timm is not installed",
            "timm for the architectures timm/NAME",
            'pip install "dfq-toolkit[timm]"',
        )


@functools.cache
def names() -> list[str]:
    if not installed():
        return []
    import timm

    return timm.list_models()


def knows(name: str) -> bool:
    """Returns whether timm has registered a name, with or without a weights tag and arguments.

    The names of `hf-hub:…` do not count, because they would need the network.
    """
    if not installed():
        return False
    import timm

    try:
        return timm.is_model(split_arguments(name)[0])
    except ValueError:
        return False


def split_arguments(name: str) -> tuple[str, dict[str, Any]]:
    """Splits `resnet18.a1_in1k:{"in_chans": 1}` into `resnet18.a1_in1k` and {"in_chans": 1}.

    Raises:
        ValueError: The part behind the name is not a JSON object.
    """
    plain, brace, rest = name.partition(":{")
    return plain, (json.loads(brace[1:] + rest) if brace else {})


def with_arguments(name: str, arguments: Mapping[str, Any]) -> str:
    """Returns the name with which `build` makes the network with these arguments.

    It is the plain name where the arguments change nothing.

    Raises:
        DfqError: The arguments would make timm read a file or fetch one.
    """
    own = {key: value for key, value in arguments.items() if key != "num_classes" and value is not None}
    if not own:
        return name
    _check(name, own)
    if _described(build(name, None)) == _described(build(name, None, own)):
        return name
    return f"{name}:{json.dumps(own)}"


def _check(name: str, arguments: Mapping[str, Any]) -> None:
    refused = [key for key in arguments if key.startswith(NO_ARGUMENTS)]
    if refused:
        raise DfqError(
            f"the argument '{refused[0]}' of timm/{name}",
            "arguments that describe the network only, such as in_chans or img_size",
            "leave it out",
        )


def _described(model: nn.Module) -> tuple:
    """Returns everything in which two networks of the same class can differ: layers, shapes, plain attributes."""
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    plain = (str, int, float, bool, tuple, type(None))
    attributes = {
        (path, key): value
        for path, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, plain)
    }
    return repr(model), shapes, attributes


def build(name: str, num_classes: int | None, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    import timm

    plain, own = split_arguments(name)
    own = {**own, **(arguments or {})}
    _check(plain, own)
    classes: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    return timm.create_model(plain, pretrained=False, **own, **classes)


def input_spec(name: str) -> InputSpec | None:
    from timm.models import get_pretrained_cfg

    plain, arguments = split_arguments(name)
    published = get_pretrained_cfg(plain)
    if published is None or arguments.get("in_chans", RGB) != RGB:
        return None
    size = arguments.get("img_size") or published.input_size[1:]
    height, width = (size, size) if isinstance(size, int) else size
    return InputSpec(size=(RGB, height, width), mean=tuple(published.mean), std=tuple(published.std))
