"""Finds the weights among what a checkpoint file holds, and loads all of them into a network or none."""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfq.checkpoint.selection import WEIGHTS_NEEDED, Path, select, tensors
from dfq.checkpoint.settings import SelectionSettings
from dfq.errors import DfqError
from dfq.models.exported_program import ExportedNetwork
from dfq.models.registry import is_known
from dfq.models.wrappers import unwrapped

LISTED = 5  # number of keys of each kind that an error lists
KEY_LIST = re.compile(r"(Missing|Unexpected) key\(s\) in state_dict: (.*)")
SHAPE_MISMATCH = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)")
ARCH_KEYS = ("arch", "model", "model_name", "architecture", "backbone")  # keys in the settings of training scripts


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The content of a checkpoint file.

    Attributes:
        weights: Tensors under the names that they have in the file.
        metadata: Everything else: `arch`, `input_spec`, a training script's `args`, …
        module: Network without wrappers around it, where the file was a .pt2 file or a pickled network.
        assumed: Sentences on each choice that was made, and on numbers that become float32.
        norm_epsilon: ε of the BatchNorm layers that the weights were trained with; None: the architecture's own.
    """

    weights: "OrderedDict[str, Tensor]"
    metadata: dict[str, Any]
    module: nn.Module | None = None
    assumed: tuple[str, ...] = ()
    norm_epsilon: float | None = None


def find_contents(
    content: Any,
    metadata: dict[str, Any],
    key: str | None = None,
    *,
    settings: SelectionSettings = SelectionSettings(),
) -> Contents:
    """Sorts the object from a file into weights, metadata and, for a .pt2 or pickled network, the module.

    Args:
        content: Object from the file.
        metadata: Metadata that the file keeps beside it.
        key: Key of one of several weights (`dfq.checkpoint.selection.select`). None means the averaged weights, or else
            the only ones.
        settings: Where weights are looked for.

    Raises:
        DfqError: There are no tensors anywhere, or none under `key`.
    """
    if isinstance(content, nn.Module):
        if key is not None:
            raise DfqError(f"--weights {key}, but the file holds one network", "no choice", "leave --weights out")
        return _of_module(content, metadata, ())
    if not isinstance(content, Mapping):
        raise DfqError(f"the file holds a {type(content).__name__}, no weights", *WEIGHTS_NEEDED)
    path, entry, said = select(content, key, settings=settings)
    notes = {**metadata, **_beside(content, path)}
    if isinstance(entry, nn.Module):
        return _of_module(entry, notes, said)
    weights = tensors(entry)
    return Contents(weights=weights, metadata=notes, assumed=(*said, *in_float32(weights.values())))


def _of_module(module: nn.Module, metadata: dict[str, Any], said: tuple[str, ...]) -> Contents:
    if isinstance(module, ExportedNetwork):
        metadata = {**metadata, "input_size": module.image_size}
    module, removed = unwrapped(module)
    weights = tensors(module.state_dict())
    said = (*said, *removed, *in_float32(weights.values()))
    return Contents(weights=weights, metadata=metadata, module=module, assumed=said)


def in_float32(values: Iterable[Tensor]) -> tuple[str, ...]:
    """Returns a sentence for each other type of floating-point numbers that become float32."""
    kinds = Counter(tensor.dtype for tensor in values if tensor.is_floating_point() and tensor.dtype != torch.float32)
    return tuple(
        f"float32 in place of {str(kind).removeprefix('torch.')}, which {count} tensors have"
        for kind, count in kinds.items()
    )


def _beside(content: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    """Returns what the file says beside the weights: inner entries override outer ones, and both override `args`."""
    if not path:
        return {name: value for name, value in content.items() if not isinstance(value, Tensor)}
    rest = {name: value for name, value in content.items() if name != path[0]}
    inner = _beside(content[path[0]], path[1:]) if path[1:] else {}
    return {
        **_from_hyper_parameters(rest.get("hyper_parameters")),
        **_from_arguments(rest.get("args")),
        **rest,
        **inner,
    }


def _from_arguments(arguments: Any) -> dict[str, Any]:
    """Returns what the training scripts of timm and torchvision note in `args`; timm's `img_size` is one side."""
    values = dict(arguments) if isinstance(arguments, Mapping) else dict(getattr(arguments, "__dict__", {}))
    found = {name: values.get(name) for name in ("input_size", "mean", "std")}
    found["input_size"] = found["input_size"] or values.get("img_size")
    found["arch"] = values.get("arch") or values.get("model")
    return {name: value for name, value in found.items() if value is not None}


def _from_hyper_parameters(values: Any) -> dict[str, Any]:
    """Returns the architecture from Lightning's hyperparameters where a library knows it: users choose names freely."""
    if not isinstance(values, Mapping):
        return {}
    names = (values.get(key) for key in ARCH_KEYS)
    arch = next((name for name in names if isinstance(name, str) and is_known(name)), None)
    return {} if arch is None else {"arch": arch}


def rename(weights: "OrderedDict[str, Tensor]", new_name: Callable[[str], str]) -> "OrderedDict[str, Tensor]":
    """Returns the same tensors under `new_name(key)`; the modules' version numbers stay as they are."""
    renamed = OrderedDict((new_name(key), value) for key, value in weights.items())
    versions = getattr(weights, "_metadata", None)
    if versions is not None:
        renamed._metadata = versions  # type: ignore[attr-defined]
    return renamed


def load_weights(model: nn.Module, weights: "OrderedDict[str, Tensor]", arch: str) -> None:
    """Loads all of `weights` into `model`.

    Raises:
        DfqError: A key is missing, unexpected or of another shape. The model must then be thrown away.
    """
    try:
        model.load_state_dict(_completed(weights, model), strict=True)
    except Exception as error:  # a RuntimeError with the keys, or what a module's own loading code raises
        raise _misfit(str(error), arch) from error


def _completed(weights: "OrderedDict[str, Tensor]", model: nn.Module) -> "OrderedDict[str, Tensor]":
    """Adds absent batch counters, and current version numbers where a file (.safetensors) has none."""
    own = model.state_dict()
    counters = {key: own[key] for key in own if key.endswith("num_batches_tracked") and key not in weights}
    completed = OrderedDict({**weights, **counters})
    completed._metadata = getattr(weights, "_metadata", own._metadata)  # type: ignore[attr-defined]
    return completed


def _misfit(message: str, arch: str) -> DfqError:
    keys = {kind: re.findall(r'"(.*?)"', names) for kind, names in KEY_LIST.findall(message)}
    shapes = [f"{name} ({found}), {arch} has ({own})" for name, found, own in SHAPE_MISMATCH.findall(message)]
    parts = [
        _listed("missing from the file", keys.get("Missing", [])),
        _listed("unknown to the architecture", keys.get("Unexpected", [])),
        _listed("of another shape", shapes, separator="; "),
    ]
    details = ". ".join(part for part in parts if part)
    return DfqError(
        f"the checkpoint does not fit {arch}: {details or message[:200]}",
        "a checkpoint whose every tensor fits: nothing was loaded",
        "pass the architecture that it was made with: --arch NAME or --arch path/to/net.py:factory",
    )


def _listed(what: str, names: Iterable[str], separator: str = ", ") -> str:
    names = list(names)
    if not names:
        return ""
    more = f"{separator}…" if len(names) > LISTED else ""
    return f"{len(names)} {what}: {separator.join(names[:LISTED])}{more}"
