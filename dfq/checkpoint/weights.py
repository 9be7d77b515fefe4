"""From what a checkpoint file holds to weights in a network: finding them, and loading all or nothing."""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dfq.checkpoint.selection import WEIGHTS_NEEDED, Path, select, tensors
from dfq.errors import DfqError
from dfq.models.exported_program import ExportedNetwork
from dfq.models.registry import is_known
from dfq.models.wrappers import unwrapped

LISTED = 5  # keys shown of each kind
KEY_LIST = re.compile(r"(Missing|Unexpected) key\(s\) in state_dict: (.*)")
SHAPE_MISMATCH = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)")
ARCH_KEYS = ("arch", "model", "model_name", "architecture", "backbone")  # of a training script's settings


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a checkpoint file holds.

    Attributes:
        weights: name → tensor, as the file has them.
        metadata: everything else: `arch`, `input_spec`, a training script's `args`, …
        module: the network itself, where the file was a .pt2 or a pickled one; without wrappers around it.
        assumed: a sentence for each choice that was made, and for numbers that become float32.
    """

    weights: "OrderedDict[str, Tensor]"
    metadata: dict[str, Any]
    module: nn.Module | None = None
    assumed: tuple[str, ...] = ()


def find_contents(content: Any, metadata: dict[str, Any], key: str | None = None) -> Contents:
    """Sorts the object from a file into weights, metadata and, for a .pt2 or pickled network, the module.

    Args:
        key: which of several weights (`dfq.checkpoint.selection.select`); None: the averaged ones, else the only ones.

    Raises:
        DfqError: no tensors anywhere, or none under `key`.
    """
    if isinstance(content, nn.Module):
        if key is not None:
            raise DfqError(f"--weights {key}, but the file holds one network", "no choice", "leave --weights out")
        return _of_module(content, metadata, ())
    if not isinstance(content, Mapping):
        raise DfqError(f"the file holds a {type(content).__name__}, no weights", *WEIGHTS_NEEDED)
    path, entry, said = select(content, key)
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
    """What is said where floating-point numbers of another width become float32."""
    kinds = Counter(tensor.dtype for tensor in values if tensor.is_floating_point() and tensor.dtype != torch.float32)
    return tuple(
        f"float32 in place of {str(kind).removeprefix('torch.')}, which {count} tensors have"
        for kind, count in kinds.items()
    )


def _beside(content: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    """What the file says beside the weights: inner entries go before outer ones, and both before `args`."""
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
    """What timm and torchvision's reference scripts note in `args` (timm: `img_size` is a side)."""
    values = dict(arguments) if isinstance(arguments, Mapping) else dict(getattr(arguments, "__dict__", {}))
    found = {name: values.get(name) for name in ("input_size", "mean", "std")}
    found["input_size"] = found["input_size"] or values.get("img_size")
    found["arch"] = values.get("arch") or values.get("model")
    return {name: value for name, value in found.items() if value is not None}


def _from_hyper_parameters(values: Any) -> dict[str, Any]:
    """Lightning's: the names in it are the user's own, so the architecture counts only if a library knows it."""
    if not isinstance(values, Mapping):
        return {}
    names = (values.get(key) for key in ARCH_KEYS)
    arch = next((name for name in names if isinstance(name, str) and is_known(name)), None)
    return {} if arch is None else {"arch": arch}


def rename(weights: "OrderedDict[str, Tensor]", new_name: Callable[[str], str]) -> "OrderedDict[str, Tensor]":
    """The same tensors under `new_name(key)`; the modules' version numbers stay as they are."""
    renamed = OrderedDict((new_name(key), value) for key, value in weights.items())
    versions = getattr(weights, "_metadata", None)
    if versions is not None:
        renamed._metadata = versions  # type: ignore[attr-defined]
    return renamed


def load_weights(model: nn.Module, weights: "OrderedDict[str, Tensor]", arch: str) -> None:
    """Loads all of `weights` into `model`.

    Raises:
        DfqError: a missing, unexpected or mismatching key; the model must then be thrown away.
    """
    try:
        model.load_state_dict(_completed(weights, model), strict=True)
    except Exception as error:  # RuntimeError with the keys, or what a module's own loading code raises
        raise _misfit(str(error), arch) from error


def _completed(weights: "OrderedDict[str, Tensor]", model: nn.Module) -> "OrderedDict[str, Tensor]":
    """Files without version numbers (.safetensors) are taken as current; batch counters may be absent."""
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
