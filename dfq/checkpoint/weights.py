"""From what a checkpoint file holds to weights in a network: finding them, and loading all or nothing."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.models.exported_program import ExportedNetwork

WEIGHT_KEYS = ("state_dict", "model", "model_state_dict", "net", "network", "weights")
WRAPPERS = (
    "module.",
    "_orig_mod.",
)  # DataParallel, DistributedDataParallel and weight averaging; torch.compile
COUNTERS = ("n_averaged",)  # beside the weights in torch.optim.swa_utils.AveragedModel
LISTED = 5  # keys shown of each kind
KEY_LIST = re.compile(r"(Missing|Unexpected) key\(s\) in state_dict: (.*)")
SHAPE_MISMATCH = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a checkpoint file holds.

    Attributes:
        weights: name → tensor, wrapper prefixes removed.
        metadata: everything else: `arch`, `input_spec`, a training script's `args`, …
        module: the network itself, where the file was a .pt2 or a pickled one.
    """

    weights: "OrderedDict[str, Tensor]"
    metadata: dict[str, Any]
    module: nn.Module | None = None


def find_contents(content: Any, metadata: dict[str, Any]) -> Contents:
    """Sorts the object from a file into weights, metadata and, for a .pt2 or pickled network, the module.

    Raises:
        DfqError: no tensors anywhere.
    """
    if isinstance(content, ExportedNetwork):
        metadata = {**metadata, "input_size": content.image_size}
    if isinstance(content, nn.Module):
        module = content.module if isinstance(content, nn.DataParallel) else content
        return Contents(weights=_tensors(module.state_dict()), metadata=metadata, module=module)
    if not isinstance(content, Mapping):
        raise DfqError(f"the file holds a {type(content).__name__}, no weights", *_WEIGHTS_NEEDED)
    for key in WEIGHT_KEYS:
        inner = content.get(key)
        rest = {name: value for name, value in content.items() if name != key}
        notes = {**_from_arguments(rest.get("args")), **metadata, **rest}
        if isinstance(inner, nn.Module):
            return find_contents(inner, notes)
        if isinstance(inner, Mapping) and _tensors(inner):
            return Contents(weights=unwrap(_tensors(inner)), metadata=notes)
    weights = _tensors(content)
    if not weights:
        keys = ", ".join(str(key) for key in list(content)[:LISTED])
        raise DfqError(f"the file holds a dict without tensors (keys: {keys or 'none'})", *_WEIGHTS_NEEDED)
    plain = {name: value for name, value in content.items() if not isinstance(value, Tensor)}
    return Contents(weights=unwrap(weights), metadata={**metadata, **plain})


_WEIGHTS_NEEDED = (
    "a state dict (name → tensor), or a dict that holds one under 'state_dict' or 'model'",
    "torch.save({'arch': 'torchvision/resnet18', 'state_dict': model.state_dict()}, 'model.pt')",
)


def _tensors(values: Mapping[Any, Any]) -> "OrderedDict[str, Tensor]":
    tensors = OrderedDict((key, value) for key, value in values.items() if isinstance(value, Tensor))
    result = OrderedDict((key, value) for key, value in tensors.items() if isinstance(key, str) and key not in COUNTERS)
    versions = getattr(values, "_metadata", None)  # of the modules: some need them to load older files
    if isinstance(versions, Mapping):
        result._metadata = versions  # type: ignore[attr-defined]
    return result


def _from_arguments(arguments: Any) -> dict[str, Any]:
    """What timm and torchvision's reference scripts note in `args` (timm: `img_size` is a side)."""
    values = dict(arguments) if isinstance(arguments, Mapping) else dict(getattr(arguments, "__dict__", {}))
    found = {name: values.get(name) for name in ("input_size", "mean", "std")}
    found["input_size"] = found["input_size"] or values.get("img_size")
    found["arch"] = values.get("arch") or values.get("model")
    return {name: value for name, value in found.items() if value is not None}


def unwrap(weights: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
    """Removes the prefixes that wrappers put before every key, in the version numbers as well."""
    prefix = next((each for each in WRAPPERS if all(key.startswith(each) for key in weights)), None)
    if prefix is None or not weights:
        return weights
    return unwrap(rename(weights, lambda key: key.removeprefix(prefix)))


def rename(weights: "OrderedDict[str, Tensor]", new_name: Callable[[str], str | None]) -> "OrderedDict[str, Tensor]":
    """The same tensors under `new_name(key)`; keys for which it returns None are left out."""
    pairs = ((new_name(key), value) for key, value in weights.items())
    renamed = OrderedDict((key, value) for key, value in pairs if key is not None)
    versions = getattr(weights, "_metadata", None)
    if versions is not None:
        modules = ((new_name(f"{name}.") if name else "", value) for name, value in versions.items())
        kept = {name.removesuffix("."): value for name, value in modules if name is not None}
        renamed._metadata = kept  # type: ignore[attr-defined]  # the unwrapped root takes the wrapper's place
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
