"""Finds the input of a checkpoint's network in flags, or else in the file's metadata, or else in what is published."""

from collections.abc import Mapping, Sequence
from reprlib import repr as brief
from typing import Any

import torch
from torch import nn

from dfq.checkpoint.checks import IMAGE_NETWORK
from dfq.errors import DfqError
from dfq.graph.largest_tensor import check_largest_tensor
from dfq.graph.outputs import named_outputs
from dfq.images.input_spec import InputSpec, is_unusual

FLAGS = {
    "size": "--input-size 3x224x224",
    "mean": "--mean 0.485,0.456,0.406",
    "std": "--std 0.229,0.224,0.225",
}


def resolve_input_spec(
    flags: Mapping[str, Any], metadata: Mapping[str, Any], published: InputSpec | None, arch: str
) -> tuple[InputSpec, tuple[str, ...]]:
    """Returns size, mean and std, each from the first source that has it, and a sentence on what was only published.

    Args:
        flags: The user's `size`, `mean` and `std`; None where not given. One number stands for all channels.
        metadata: Metadata of the checkpoint: `input_spec` (with the same names), or `input_size`, `mean`, `std`.
        published: Published input of the architecture, if there is one.
        arch: Name of the architecture for the sentence.

    Raises:
        DfqError: No source states a value, or a value is not a size or a list of numbers.
    """
    sources = ({**flags}, _stated(metadata), published.to_dict() if published else {})
    values: dict[str, Any] = {}
    guessed, unknown = [], []
    for field in ("size", "mean", "std"):
        source = next((each for each in sources if each.get(field) is not None), None)
        if source is None:
            unknown.append(field)
            continue
        values[field] = (
            _size(source[field]) if field == "size" else per_channel(field, source[field], values.get("size", (0,))[0])
        )
        if source is sources[2]:
            guessed.append(field)
    if unknown:
        raise _unknown(unknown, arch)
    return InputSpec(**values), _sentence(guessed, values["size"], arch)


def check_forward(model: nn.Module, input_spec: InputSpec, *, is_stated: bool = False) -> None:
    """Runs a black image through the network, and raises a DfqError if it gives no tensors, or none that are finite.

    Args:
        model: The network.
        input_spec: Its input.
        is_stated: Whether the size is a file's word alone.
    """
    try:
        if is_unusual(input_spec.size):
            check_largest_tensor(model, (1, *input_spec.size), is_stated=is_stated)
        with torch.inference_mode():
            given = model(torch.zeros(1, *input_spec.size))
    except Exception as error:  # the network is the user's code
        raise _no_images(model, input_spec, error) from error
    outputs = named_outputs(given, 1, type(model).__name__).tensors
    infinite = [name for name, output in outputs.items() if not torch.isfinite(output).all()]
    if infinite:
        raise DfqError(
            f"the {', '.join(infinite)} of a black image are NaN or infinite",
            "a network that computes finite numbers",
            "check that no BatchNorm variance is negative, or take an earlier checkpoint",
        )


def _stated(metadata: Mapping[str, Any]) -> dict[str, Any]:
    nested = metadata.get("input_spec")
    stated = {"size": metadata.get("input_size"), "mean": metadata.get("mean"), "std": metadata.get("std")}
    return {**stated, **nested} if isinstance(nested, Mapping) else stated


def _size(value: Any) -> tuple[int, ...]:
    numbers = [value] * 2 if isinstance(value, int) else value  # timm notes one side, others note height and width
    if isinstance(numbers, torch.Tensor | Sequence) and not isinstance(numbers, str):
        sides = [int(number) for number in numbers if isinstance(number, int | torch.Tensor)]
        if len(sides) == len(numbers) and len(sides) in (2, 3):
            return (3, *sides) if len(sides) == 2 else tuple(sides)
    raise DfqError(f"input size {brief(value)}", "channels × height × width", f"for example {FLAGS['size']}")


def per_channel(field: str, values: Any, channels: int) -> tuple[float, ...]:
    """Returns one number for every channel; a single number that is not in a list stands for all channels.

    Args:
        field: `mean` or `std`, for the error.
        values: A number, or a sequence of numbers.
        channels: Number of channels.

    Raises:
        DfqError: The values are neither a number nor a sequence of numbers.
    """
    if isinstance(values, int | float) and not isinstance(values, bool):
        return (float(values),) * channels
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise DfqError(
            f"{field} {brief(values)}", "one number for every channel", f"for example {FLAGS[field]}"
        ) from error


def _unknown(fields: list[str], arch: str) -> DfqError:
    names = ["input size" if field == "size" else field for field in fields]
    return DfqError(
        f"{', '.join(names)} of the images: neither the checkpoint nor {arch} tells",
        "the size and normalisation that the network was trained with",
        f"for example {' '.join(FLAGS[field] for field in fields)}",
    )


def _sentence(guessed: list[str], size: tuple[int, ...], arch: str) -> tuple[str, ...]:
    normalisation = "/".join(field for field in guessed if field != "size")
    names = [f"input size {_times(size)}"] if "size" in guessed else []
    names += [normalisation] if normalisation else []
    return (f"{' and '.join(names)}: the published configuration of {arch}",) if names else ()


def _no_images(model: nn.Module, input_spec: InputSpec, error: Exception) -> DfqError:
    size, channels = _times(input_spec.size), input_spec.size[0]
    layers = [(n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    name, first = layers[0] if layers else ("", None)
    if isinstance(first, nn.Conv2d) and first.in_channels != channels:
        return DfqError(
            f"input size {size} has {channels} channels, the first layer '{name}' takes {first.in_channels}",
            "as many channels as the network was trained with",
            f"--input-size {_times((first.in_channels, *input_spec.size[1:]))} and as many --mean and --std",
        )
    described = f" (first layer '{name}': {first})" if first is not None else ""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DfqError(
        f"the network does not take {size} images{described}: {reason}",
        IMAGE_NETWORK,
        "if it does take images, pass the size that it was trained with: --input-size 3x224x224",
    )


def _times(size: Sequence[int]) -> str:
    return "x".join(str(side) for side in size)
