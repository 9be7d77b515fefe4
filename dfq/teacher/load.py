"""`load_teacher`: a checkpoint, published weights or a network in memory becomes a `Teacher`."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack, cast

from torch import nn

from dfq.checkpoint import describe_network, load_checkpoint
from dfq.errors import DfqError
from dfq.teacher.teacher import Teacher

SettingsClass = TypeVar("SettingsClass")


class LoadOptions(TypedDict, total=False):
    """How a network is read, and where it computes; each key is the command-line option of the same name.

    Attributes:
        arch: `torchvision/NAME`, `timm/NAME`, `dfq/NAME`, `hf-hub:OWNER/NAME` or `path/to/net.py:factory`.
        input_size: (channels, height, width) of the images.
        mean, std: of the input normalisation, for pixels in [0, 1]; one number stands for all channels.
        weights: which entry of the checkpoint to take, where it holds several.
        device: "cpu" or "cuda".
        allow_pickle: RUNS CODE FROM THE FILE, where that is a pickled module.
    """

    arch: str | None
    input_size: Sequence[int] | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    weights: str | None
    device: str
    allow_pickle: bool


def load_teacher(model: str | Path | nn.Module | Teacher, **options: Unpack[LoadOptions]) -> Teacher:
    """The trained network, frozen; a `Teacher` is given back as it is.

    Args:
        model: a checkpoint, published weights by name (`torchvision/resnet18`), or a network in memory (then
            `input_size`, `mean` and `std` are needed, unless its class is of torchvision or timm).
        options: see `LoadOptions`.

    Raises:
        DfqError: see `dfq.checkpoint.load_checkpoint`; options beside a `Teacher`; a state dict without its network.
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
    reading = {name: value for name, value in options.items() if name != "device"}
    device = options.get("device", "cpu")
    if isinstance(model, nn.Module):
        described: dict[str, Any] = {name: reading.get(name) for name in ("input_size", "mean", "std")}
        network, spec, assumed = describe_network(model, **described)
        return Teacher(network, spec, device, arch=options.get("arch"), assumed=assumed)
    loaded = load_checkpoint(model, **cast(dict[str, Any], reading))
    return Teacher(loaded.model, loaded.input_spec, device, arch=loaded.arch, assumed=loaded.assumed)


def split_options(options: Mapping[str, Any], settings: type[SettingsClass]) -> tuple[LoadOptions, SettingsClass]:
    """(how to read the network, what to do) of a job's keywords.

    Raises:
        DfqError: a keyword that neither knows; what the settings refuse.
    """
    known = {*LoadOptions.__annotations__, *(field.name for field in fields(cast(Any, settings)))}
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            way_out = f"did you mean {near[0]!r}?" if near else "see the reference of settings"
            raise DfqError(f"keyword {name!r}", f"one of {', '.join(sorted(known))}", way_out)
    loading = {name: value for name, value in options.items() if name in LoadOptions.__annotations__}
    return cast(LoadOptions, loading), settings(**{name: options[name] for name in options if name not in loading})
