"""Finds the network that weights belong to: the caller or the file names it, or an error suggests some."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dfq.checkpoint.adapt import adapted
from dfq.checkpoint.checks import IMAGE_NETWORK, classifier_key, first_layer_key, takes_images
from dfq.checkpoint.weights import Contents, load_weights, rename
from dfq.errors import DfqError
from dfq.models import torchvision_library
from dfq.models.exported_program import SUFFIX, ExportedNetwork
from dfq.models.onnx_file.read import SUFFIX as ONNX_SUFFIX
from dfq.models.registry import build, full_names
from dfq.models.suggest import suggest
from dfq.models.timm_config import is_hub_name
from dfq.models.user_file import build_and_say, file_factory_takes_num_classes, is_file_name

PICKLED = "pickle/"  # prefix of the class name of a network that came complete out of a pickle
LIGHTNING = "pytorch-lightning_version"  # an entry of PyTorch Lightning's checkpoints


class Fitted(NamedTuple):
    """A network that a file may be of.

    Attributes:
        name: Full name, with the arguments that the file's tensors need.
        model: The network, with random weights.
        weights: The file's tensors under the network's names.
        said: Sentences on what was assumed and changed.
    """

    name: str
    model: nn.Module
    weights: "OrderedDict[str, Tensor]"
    said: tuple[str, ...]


def build_with_weights(contents: Contents, arch: str | None, path: Path) -> tuple[nn.Module, str, tuple[str, ...]]:
    """Returns the network with the file's weights, its full name, and what was assumed about name and weights."""
    if arch is None and isinstance(contents.module, ExportedNetwork):
        return contents.module, str(path if path.suffix in (SUFFIX, ONNX_SUFFIX) else PICKLED + path.name), ()
    if arch is None and contents.module is not None:
        return contents.module, PICKLED + type(contents.module).__name__, ()
    names = _meanings(arch) if arch else _stated(contents, path)
    if not is_file_name(names[0]) and not takes_images(contents.weights):
        raise _not_images(contents.weights)
    fitting = [_fit(name, contents) for name in names]
    name, model, weights, said = max(fitting, key=lambda each: _share(each.model, each.weights))
    try:
        load_weights(model, weights, name)
    except DfqError as error:
        raise _with_better(error, contents.weights, name) from error
    _set_norm_epsilon(model, contents.norm_epsilon)
    if len(names) == 1:
        return model, name, said
    return model, name, (f"architecture {name}, whose tensors fit best among {', '.join(names)}", *said)


def _meanings(arch: str) -> list[str]:
    return [arch] if is_file_name(arch) else full_names(arch)


def _fit(arch: str, contents: Contents) -> Fitted:
    """Returns a network with as many classes as the weights have, the weights under its names, and what was done."""
    library, _, name = arch.partition("/")
    weights, of_torchvision = contents.weights, library == "torchvision"
    if of_torchvision:
        weights = rename(weights, lambda key: torchvision_library.current_key(name, key))
        name = torchvision_library.fitted(name, {key: tensor.shape for key, tensor in weights.items()})
        arch = f"torchvision/{name}"
    model, built = _built(arch, None)
    weights, changed = adapted(
        model.state_dict(),
        weights,
        beside_matrices=LIGHTNING in contents.metadata,
        outside=lambda key: of_torchvision and torchvision_library.is_outside(name, key),
    )
    found, own = _classes(model, weights)
    if found != own and _takes_num_classes(arch):
        model, built = _built(arch, found)
    outside = torchvision_library.said_of(name) if of_torchvision else ()
    return Fitted(arch, model, weights, (*built, *changed, *outside))


def _takes_num_classes(arch: str) -> bool:
    if is_file_name(arch):
        return file_factory_takes_num_classes(arch)
    library, _, name = arch.partition("/")  # the last layer of a detector has boxes and no classes
    return library != "torchvision" or not torchvision_library.is_detector(name)


def _set_norm_epsilon(model: nn.Module, epsilon: float | None) -> None:
    for layer in model.modules():
        if epsilon is not None and isinstance(layer, nn.BatchNorm2d):
            layer.eps = epsilon


def _built(arch: str, num_classes: int | None) -> tuple[nn.Module, tuple[str, ...]]:
    return build_and_say(arch, num_classes) if is_file_name(arch) else (build(arch, num_classes), ())


def _classes(model: nn.Module, weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Returns the numbers of classes in the weights and in the model; they are equal where no classifier is found."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    if not layers:
        return 0, 0
    name, classifier = layers[-1]
    own = classifier.weight.shape[0]
    found = weights.get(f"{name}.weight")
    return (own if found is None else found.shape[0]), own


def _share(model: nn.Module, weights: Mapping[str, Tensor]) -> float:
    own = set(model.state_dict())
    return len(own & set(weights)) / len(own | set(weights))


def _stated(contents: Contents, path: Path) -> list[str]:
    """Returns the full names that the checkpoint's own `arch` may mean."""
    arch: Any = contents.metadata.get("arch")
    if not isinstance(arch, str) or not arch:
        raise _needs_arch(contents.weights, path)
    if is_file_name(arch):  # a checkpoint must not choose which Python file runs
        raise DfqError(
            f"'{path}' was made with the architecture '{arch}'",
            "your permission to run this Python file",
            f"--arch {arch}",
        )
    if is_hub_name(arch):  # a checkpoint must not choose what is fetched, either
        raise DfqError(
            f"'{path}' was made with the architecture '{arch}'",
            "your permission to fetch its config.json",
            f"--arch {arch}",
        )
    try:
        return full_names(arch)
    except DfqError as error:
        raise DfqError(f"{error.found}, as '{path}' says", error.needed, error.way_out) from error


def _needs_arch(weights: Mapping[str, Tensor], path: Path) -> DfqError:
    if not takes_images(weights):
        return _not_images(weights)
    likely = [f"{name} ({share:.0%} of the tensors fit)" for name, share in suggest(weights)]
    return DfqError(
        f"'{path}' does not say its architecture; {_outline(weights)}",
        "the architecture: --arch torchvision/NAME, timm/NAME, dfq/NAME or path/to/net.py:factory",
        f"--arch with one of: {', '.join(likely)}" if likely else "--arch path/to/net.py:factory, with your own code",
    )


def _with_better(error: DfqError, weights: Mapping[str, Tensor], name: str) -> DfqError:
    """Returns the error for weights that do not fit, with the architecture that they do fit where there is one."""
    whole = next((other for other, share in suggest(weights) if share == 1 and other != name), None)
    if whole is None:
        return error
    return DfqError(f"{error.found}. All of its tensors fit {whole}", error.needed, f"pass --arch {whole}")


def _not_images(weights: Mapping[str, Tensor]) -> DfqError:
    return DfqError(
        f"no 2-D convolution: the network does not look like one for images; {_outline(weights)}",
        IMAGE_NETWORK,
        "if it does take images, pass its code: --arch path/to/net.py:factory",
    )


def _outline(weights: Mapping[str, Tensor]) -> str:
    first, last = first_layer_key(weights), classifier_key(weights)
    described = [
        f"{what} '{key}' {tuple(weights[key].shape)}"
        for what, key in (("first layer", first), ("classifier", last))
        if key
    ]
    return ", ".join(described) or f"{len(weights)} tensors"
