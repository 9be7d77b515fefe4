"""Finds the input of a torchvision or timm network that came without its name, as a pickle or in memory."""

from collections.abc import Mapping

from torch import nn

from dfq.errors import DfqError
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models import torchvision_library
from dfq.models.registry import build
from dfq.models.shapes_only import shapes_only
from dfq.models.timm_config import input_of
from dfq.models.torchvision_detectors import refuse_whole


def own_input(model: nn.Module) -> tuple[InputSpec, str] | None:
    """Returns the published input of the network's class and the name that it was published under, or None.

    It is None where the input is not known, or where there is more than one. A network of timm states its input. For
    one of torchvision, all networks of the same file are considered; where their inputs differ, only those with the
    same tensors.

    Raises:
        DfqError: It is a detector of torchvision, whose forward pass takes a list of images.
    """
    refuse_whole(model)
    library = type(model).__module__.partition(".")[0]
    found = {"timm": _of_timm, "torchvision": _of_torchvision}.get(library, lambda model: None)(model)
    if found is None or found[0].size[0] != _channels(model):
        return None
    return found


def _channels(model: nn.Module) -> int | None:
    return next((layer.in_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)


def _of_timm(model: nn.Module) -> tuple[InputSpec, str] | None:
    published = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    spec = input_of(published) if isinstance(published, Mapping) else None
    if spec is None or not isinstance(published, Mapping):
        return None
    name = published.get("architecture") or type(model).__name__
    patches = getattr(getattr(model, "patch_embed", None), "img_size", None)  # transformers may be made for other sizes
    if isinstance(patches, tuple) and len(patches) == 2:
        spec = InputSpec(size=(spec.size[0], *patches), mean=spec.mean, std=spec.std)
    return spec, f"timm/{name}"


def _of_torchvision(model: nn.Module) -> tuple[InputSpec, str] | None:
    names = torchvision_library.names_in(type(model).__module__)
    inputs = {name: torchvision_library.input_spec(name) for name in names}
    if len({spec.size for spec in inputs.values()}) > 1:
        inputs = {name: spec for name, spec in inputs.items() if _is_like(model, name)}
    sizes = {spec.size: (name, spec) for name, spec in inputs.items()}
    if len(sizes) != 1:
        return None
    name, spec = next(iter(sizes.values()))
    if getattr(model, "transform_input", False):  # the network turns ImageNet's normalisation into its own
        spec = InputSpec(size=spec.size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return spec, f"torchvision/{name}" if len(inputs) == 1 else f"torchvision's {type(model).__name__}"


def _is_like(model: nn.Module, name: str) -> bool:
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    try:
        with shapes_only():
            own = build(f"torchvision/{name}", layers[-1].weight.shape[0]).state_dict()
    except (DfqError, IndexError):  # some networks compute with their weights while they are made
        return False
    prefixes = torchvision_library.AUXILIARY_HEADS.get(name, ())
    shapes = {key: value.shape for key, value in model.state_dict().items() if not key.startswith(prefixes)}
    return shapes == {key: value.shape for key, value in own.items()}
