"""Reads `config.json`, which timm writes beside weights (`save_pretrained`, `save_for_hf`)."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models import timm_library

CONFIG = "config.json"
HUB = "hf-hub:"  # prefix that timm uses
MAX_REASON_LENGTH = 120  # number of characters of a reason that an error shows
NEEDED = "a config.json of timm, with 'architecture' and 'pretrained_cfg'"


@dataclass(frozen=True)
class TimmConfig:
    """The network that a config.json describes.

    Attributes:
        arch: Full name, such as `timm/resnet18`, with arguments where the network was made with other than timm's
            defaults.
        input_spec: Size and normalisation of its images; None where one of them is missing.
    """

    arch: str
    input_spec: InputSpec | None


def is_hub_name(name: str) -> bool:
    """Returns whether `name` means a repository of the Hugging Face hub, such as `hf-hub:timm/resnet18.a1_in1k`."""
    return name.startswith(HUB)


def read_config(path: Path, where: str) -> TimmConfig:
    """Returns the network that a config.json describes.

    Args:
        path: File to read.
        where: Name of the file in errors.

    Raises:
        DfqError: The file is damaged or not timm's, or the installed timm does not have the architecture.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DfqError(
            f"{where} cannot be read: {error}", NEEDED, "copy or download it again, or pass --arch"
        ) from error
    if not isinstance(values, Mapping) or not isinstance(values.get("architecture"), str):
        raise _foreign(values, where)
    timm_library.require()
    name = values["architecture"]
    if not timm_library.knows(name):
        raise DfqError(
            f"unknown architecture 'timm/{name}', as {where} says",
            "an architecture of the installed timm",
            "pip install --upgrade timm, or pass --arch",
        )
    nested = values.get("pretrained_cfg")
    described = nested if isinstance(nested, Mapping) else values  # before timm 0.9, everything was on one level
    arguments = values.get("model_args")
    name = timm_library.with_arguments(name, arguments if isinstance(arguments, Mapping) else {})
    return TimmConfig(f"timm/{name}", input_of(described))


def input_of(described: Mapping[str, Any]) -> InputSpec | None:
    """Returns the input that a `pretrained_cfg` describes; None where size, mean or std is missing or malformed."""
    try:
        channels, height, width = map(int, described["input_size"])
        mean, std = (tuple(map(float, described[each])) for each in ("mean", "std"))
        return InputSpec(size=(channels, height, width), mean=mean, std=std)
    except (KeyError, TypeError, ValueError, DfqError):
        return None


def _foreign(values: Any, where: str) -> DfqError:
    classes = values.get("architectures") if isinstance(values, Mapping) else None
    kind = f" of transformers ({classes[0]})" if isinstance(classes, list) and classes else ", but not timm's"
    return DfqError(
        f"{where} is a config.json{kind}",
        NEEDED,
        "write a factory that builds the network and returns its logits, and pass it beside the same folder: "
        "--arch path/to/net.py:factory",
    )


@functools.cache
def fetch_config(name: str) -> TimmConfig:
    """Returns the config of `hf-hub:OWNER/NAME` or `hf-hub:OWNER/NAME@REVISION`.

    It comes from huggingface_hub's cache, or is fetched.

    Raises:
        DfqError: The config is neither in the cache nor within reach, or it is not timm's.
    """
    timm_library.require()
    from huggingface_hub import hf_hub_download

    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        path = hf_hub_download(repository, CONFIG, revision=revision or None)
    except Exception as error:  # a missing network, repository or permission raises errors of many classes
        raise unreachable(name, error) from error
    return read_config(Path(path), f"{CONFIG} of '{name}'")


def unreachable(name: str, error: Exception) -> DfqError:
    """Returns the error for published weights that are neither in the cache nor within reach."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reason = line if len(line) <= MAX_REASON_LENGTH else line.partition(". ")[0][:MAX_REASON_LENGTH]
    return DfqError(
        f"'{name}' is not in the cache and cannot be fetched: {reason}",
        "the published weights, in the cache from an earlier use or over the network",
        "check the name and the connection; or fetch the weights elsewhere and pass the file or folder with --arch",
        exit_code=1,
    )
