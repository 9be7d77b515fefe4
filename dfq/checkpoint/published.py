"""Loads published weights by name: `torchvision/resnet18`, `timm/resnet18.a1_in1k`, `hf-hub:timm/resnet18.a1_in1k`.

They come from the cache of torch.hub or huggingface_hub, or are fetched into it by torchvision or timm themselves,
which write only complete files. Nothing is fetched for anything but such a name.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dfq.checkpoint.folder import SUFFIXES, described
from dfq.checkpoint.selection import tensors
from dfq.checkpoint.weights import Contents, in_float32
from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models import timm_library, torchvision_detectors, torchvision_library
from dfq.models.registry import full_names
from dfq.models.timm_config import fetch_config, input_of, is_hub_name, unreachable

LIBRARIES = ("torchvision", "timm")


def is_published_name(model: str) -> bool:
    """Returns whether MODEL, which is not a file, is meant as the name of published weights."""
    library, _, name = model.partition("/")
    is_library = library in LIBRARIES and "/" not in name and Path(name).suffix not in (*SUFFIXES, ".pt2", ".onnx")
    return is_hub_name(model) or (is_library and bool(name))


def read_published(model: str) -> Contents:
    """Returns the published weights of that name, with architecture, size and normalisation.

    Raises:
        DfqError: The name is unknown, there are no published weights, they have no classifier, or they are neither in
            the cache nor within reach (exit code 1).
    """
    if is_hub_name(model):
        config = fetch_config(model)
        network = _from_timm(model, model)
        return _contents(network.state_dict(), config.arch, config.input_spec or _input(network), f"'{model}'")
    library, _, name = model.partition("/")
    if library == "timm":
        full_names(model)
        _check_tag(name)
        network = _from_timm(name, model)
        return _contents(network.state_dict(), model, _input(network), f"'{model}'")
    name, _, tag = name.partition(".")
    full_names(f"torchvision/{name}")
    weights = torchvision_library.published_weights(name, tag or None)
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # a missing network, a full disk or a damaged file raises errors of many classes
        raise unreachable(model, error) from error
    spec = torchvision_library.input_spec(name, weights.name)
    contents = _contents(state, f"torchvision/{name}", spec, f"{weights} of torchvision")
    return replace(contents, norm_epsilon=torchvision_detectors.norm_epsilon(name, weights.name))


def _contents(state: Mapping[str, Any], arch: str, input_spec: InputSpec | None, what: str) -> Contents:
    metadata = {"arch": arch, **described(input_spec)}
    weights = tensors(state)
    said = (f"the published weights {what}", *in_float32(weights.values()))
    return Contents(weights=weights, metadata=metadata, assumed=said)


def _input(network: nn.Module) -> InputSpec | None:
    published: Any = network.pretrained_cfg
    return input_of(published)


def _check_tag(name: str) -> None:
    import timm

    plain, _, tag = name.partition(".")
    published = timm.list_models(f"{plain}.*", pretrained=True)
    if not published:
        raise DfqError(
            f"timm has no published weights of {plain}",
            "an architecture with published weights, or a checkpoint",
            f"pass the checkpoint, with --arch timm/{plain}",
        )
    if tag and name not in published:
        raise DfqError(
            f"no published weights '{tag}' of timm/{plain}",
            f"one of {', '.join(each.partition('.')[2] for each in published)}",
            f"timm/{published[0]}, or timm/{plain} for the default ones",
        )


def _from_timm(name: str, model: str) -> nn.Module:
    """Returns timm's network with its published weights, which timm itself finds, fetches and converts."""
    timm_library.require()
    import timm

    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # these errors are of many classes, too
        raise unreachable(model, error) from error
    if not network.num_classes:
        raise DfqError(
            f"'{model}' has no classifier: it was published for features alone",
            "an image-classification network",
            "pass a checkpoint of it with a trained classifier, and --arch timm/NAME",
        )
    return network
