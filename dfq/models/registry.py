"""Finds architectures by name: `dfq/resnet20`, `torchvision/resnet18`, `timm/…`, `path/to/net.py:factory`.

A bare name (`resnet18`), which timm and the PyTorch ImageNet example write, may belong to any library.
No function here downloads anything, except that `hf-hub:NAME` needs the config.json of that repository.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dfq import models
from dfq.errors import DfqError
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models import timm_library, torchvision_library
from dfq.models.exported_program import SUFFIX, read_exported
from dfq.models.onnx_file.read import SUFFIX as ONNX_SUFFIX
from dfq.models.onnx_file.read import read_onnx
from dfq.models.timm_config import fetch_config, is_hub_name
from dfq.models.user_file import build_from_file, is_file_name

CIFAR_INPUT = InputSpec(size=(3, 32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD)  # akamaster's training used this input
# The digits' pixels 0 … 16 are scaled to [0, 1]: 0.5 maps them to [−1, 1] and needs no statistic of the data.
DIGITS_INPUT = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))
OWN_CLASSES = 10  # number of classes of dfq's own networks, where none is given
CLOSE_NAME = 0.6  # smallest similarity of a name that an error suggests, which is difflib's default
MATCHES = 4  # largest number of close names among the full names, and among the bare names
LISTED = 5  # largest number of close names that the error lists

OWN: dict[str, tuple[Callable[..., nn.Module], InputSpec]] = {
    "resnet20": (models.resnet20, CIFAR_INPUT),
    "resnet32": (models.resnet32, CIFAR_INPUT),
    "resnet44": (models.resnet44, CIFAR_INPUT),
    "resnet56": (models.resnet56, CIFAR_INPUT),
    "resnet110": (models.resnet110, CIFAR_INPUT),
    "resnet18_cifar": (models.resnet18_cifar, CIFAR_INPUT),
    "resnet34_cifar": (models.resnet34_cifar, CIFAR_INPUT),
    "wrn40_2": (models.wrn40_2, CIFAR_INPUT),
    "wrn40_1": (models.wrn40_1, CIFAR_INPUT),
    "wrn16_2": (models.wrn16_2, CIFAR_INPUT),
    "wrn16_1": (models.wrn16_1, CIFAR_INPUT),
    "vgg11_cifar": (models.vgg11_cifar, CIFAR_INPUT),
    "digits_cnn": (models.digits_cnn, DIGITS_INPUT),
}


@dataclass(frozen=True, kw_only=True)
class Library:
    """The library whose names stand behind one prefix.

    Attributes:
        build: Builds the model of a name, with random weights and that many classes (None: its own number).
        names: Lists every name that the library knows; the list is empty where the library is not installed.
        knows: Returns whether `build` can build a name.
        input_spec: Returns the published input of a name, or None.
    """

    build: Callable[[str, int | None], nn.Module]
    names: Callable[[], list[str]]
    knows: Callable[[str], bool]
    input_spec: Callable[[str], InputSpec | None]


def _build_own(name: str, num_classes: int | None) -> nn.Module:
    return OWN[name][0](num_classes=num_classes or OWN_CLASSES)


# A bare name is looked up in this order.
LIBRARIES: dict[str, Library] = {
    "torchvision": Library(
        build=torchvision_library.build,
        names=torchvision_library.names,
        knows=torchvision_library.knows,
        input_spec=torchvision_library.input_spec,
    ),
    "timm": Library(
        build=timm_library.build,
        names=timm_library.names,
        knows=timm_library.knows,
        input_spec=timm_library.input_spec,
    ),
    "dfq": Library(
        build=_build_own,
        names=lambda: list(OWN),
        knows=lambda name: name in OWN,
        input_spec=lambda name: OWN[name][1],
    ),
}


def build(arch: str, num_classes: int | None = None) -> nn.Module:
    """Builds the network that `arch` names, with random weights.

    Args:
        arch: Name of the form `dfq/NAME`, `torchvision/NAME`, `timm/NAME`, `path/to/net.py:factory`,
            `path/to/model.pt2` (with the weights and classes of the file), `hf-hub:OWNER/NAME`, or a bare NAME, which
            is looked up in torchvision, then timm, then dfq.
        num_classes: Number of logits; None keeps the architecture's own number.

    Raises:
        DfqError: The name is unknown (the error lists close matches), timm is missing, or a factory does not work.
    """
    if num_classes is not None and num_classes < 1:
        raise DfqError(f"{num_classes} classes", "at least one class", "check num_classes")
    if is_file_name(arch):
        return build_from_file(arch, num_classes)
    if arch.endswith(SUFFIX):
        return read_exported(arch)
    if arch.endswith(ONNX_SUFFIX):
        return read_onnx(arch)
    library, name = full_names(arch)[0].split("/", 1)
    try:
        return LIBRARIES[library].build(name, num_classes)
    except DfqError:
        raise
    except Exception as error:
        raise DfqError(
            f"{library} fails to build '{name}' with num_classes={num_classes}: {_first_line(error)}",
            "a network of images that builds without weights",
            "check the name, or write a factory of your own: --arch path/to/net.py:factory",
        ) from error


def published_input_spec(arch: str) -> InputSpec | None:
    """Returns the input size and normalisation that `arch` was published with; None for files and unpublished ones.

    Raises:
        DfqError: The name is unknown, or timm is missing.
    """
    if is_file_name(arch) or arch.endswith((SUFFIX, ONNX_SUFFIX)):
        return None
    if is_hub_name(arch):
        return fetch_config(arch).input_spec
    library, name = full_names(arch)[0].split("/", 1)
    return LIBRARIES[library].input_spec(name)


def full_names(arch: str) -> list[str]:
    """Returns the full names that `arch` may mean, most likely first.

    For `resnet18`, these are `torchvision/resnet18` and `timm/resnet18`.

    Raises:
        DfqError: No library has that name.
    """
    if is_hub_name(arch):
        return [fetch_config(arch).arch]
    plain, brace, arguments = arch.partition(":{")  # arguments may contain slashes
    prefix, _, name = plain.rpartition("/")
    name += brace + arguments
    if prefix == "timm":
        timm_library.require()
    prefixes = [prefix] if prefix else list(LIBRARIES)
    found = [f"{each}/{name}" for each in prefixes if each in LIBRARIES and LIBRARIES[each].knows(name)]
    if not found:
        raise _unknown(arch)
    return found


def is_known(arch: str) -> bool:
    """Returns whether a library has that name, bare or full."""
    try:
        return not is_hub_name(arch) and bool(full_names(arch))
    except DfqError:
        return False


def known_names() -> list[str]:
    """Lists every architecture by its full name; timm's only where it is installed."""
    return [f"{prefix}/{name}" for prefix, library in LIBRARIES.items() for name in library.names()]


def _unknown(arch: str) -> DfqError:
    known = known_names()
    matches = difflib.get_close_matches(arch, known, MATCHES, CLOSE_NAME)
    bare = {name.split("/", 1)[1]: name for name in reversed(known)}
    matches += [bare[name] for name in difflib.get_close_matches(arch.split("/")[-1], bare, MATCHES, CLOSE_NAME)]
    guess = f"did you mean {', '.join(list(dict.fromkeys(matches))[:LISTED])}? " if matches else ""
    timm_hint = "" if timm_library.installed() else '; more names with timm: pip install "dfq-toolkit[timm]"'
    return DfqError(
        f"unknown architecture '{arch}'",
        "dfq/NAME, torchvision/NAME, timm/NAME, or path/to/net.py:factory",
        f"{guess}For example --arch torchvision/resnet18 or --arch net.py:make_model{timm_hint}",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
