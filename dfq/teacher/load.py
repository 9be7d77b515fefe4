"""`load_teacher` makes a `Teacher` of a checkpoint, of published weights, or of a network in memory."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, Unpack, cast

from torch import nn

from dfq.checkpoint import describe_network, load_checkpoint
from dfq.checkpoint.load import ReadOptions
from dfq.errors import DfqError
from dfq.teacher.teacher import Teacher

SettingsClass = TypeVar("SettingsClass")


class LoadOptions(ReadOptions, total=False):
    """How a network is read (`ReadOptions`), and where it computes.

    Attributes:
        device: Name of a device of torch, such as "cpu", "cuda" or "cuda:1".
        classifies: Whether a single output (N, C) is logits of classes (`dfq.teacher.Teacher`); False for an embedding,
            None: it is, unless its length is always 1.
    """

    device: str
    classifies: bool | None


def load_teacher(model: str | Path | nn.Module | Teacher, **options: Unpack[LoadOptions]) -> Teacher:
    """Returns the trained network as a frozen `Teacher`; a `Teacher` is returned as it is.

    Args:
        model: A checkpoint, published weights by name (`torchvision/resnet18`), or a network in memory. A network in
            memory needs `input_size`, `mean` and `std`, unless its class is one of torchvision or timm.
        options: See `LoadOptions`.

    Raises:
        DfqError: The checkpoint cannot be read (`dfq.checkpoint.load_checkpoint`), options were passed together with a
            `Teacher`, or `model` is a state dict without its network.

    Examples:
        ```python
        teacher = dfq.load_teacher("model.pt")
        print(teacher.num_classes, teacher.input_spec.size, teacher.assumed)
        ```
    """
    if isinstance(model, Teacher):
        if options:
            raise DfqError(f"{', '.join(options)} beside a teacher", "a teacher alone: it has been loaded already")
        return model
    if isinstance(model, Mapping):
        raise DfqError(
            "a state dict instead of a network",
            "a checkpoint file, a torch.nn.Module or a dfq.Teacher",
            "put the weights into their network: network.load_state_dict(weights)",
        )
    reading = {name: value for name, value in options.items() if name not in ("device", "classifies")}
    device, classifies = options.get("device", "cpu"), options.get("classifies")
    if isinstance(model, nn.Module):
        described: dict[str, Any] = {name: reading.get(name) for name in ("input_size", "mean", "std")}
        network, spec, assumed = describe_network(model, **described)
        return Teacher(network, spec, device, arch=options.get("arch"), assumed=assumed, classifies=classifies)
    loaded = load_checkpoint(model, **cast(dict[str, Any], reading))
    said = loaded.assumed
    return Teacher(loaded.model, loaded.input_spec, device, arch=loaded.arch, assumed=said, classifies=classifies)


def split_options(options: Mapping[str, Any], settings: type[SettingsClass]) -> tuple[LoadOptions, SettingsClass]:
    """Splits a job's keywords into those that say how the network is read, and the job's settings.

    Raises:
        DfqError: A keyword belongs to neither, or the settings refuse a value.
    """
    loading, chosen = split_keywords(options, {field.name for field in fields(cast(Any, settings))})
    return loading, settings(**chosen)


def split_keywords(options: Mapping[str, Any], names: Iterable[str]) -> tuple[LoadOptions, dict[str, Any]]:
    """Splits keywords into those that say how the network is read, and the others, whose names are given.

    Raises:
        DfqError: A keyword is neither.
    """
    known = {*LoadOptions.__annotations__, *names}
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            way_out = f"did you mean {near[0]!r}?" if near else "see the reference of settings"
            raise DfqError(f"keyword {name!r}", f"one of {', '.join(sorted(known))}", way_out)
    loading = {name: value for name, value in options.items() if name in LoadOptions.__annotations__}
    return cast(LoadOptions, loading), {name: value for name, value in options.items() if name not in loading}
