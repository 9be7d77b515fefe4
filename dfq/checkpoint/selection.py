"""Finds the entry of a checkpoint file that holds the weights."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from dfq.checkpoint.adapt import EMA, averaged_sentence
from dfq.checkpoint.settings import SelectionSettings
from dfq.errors import DfqError

WEIGHT_KEYS = (
    *("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "module"),
    *("params_ema", "ema", "ema_state_dict", "state_dict_ema", "model_ema"),
)
# Entries whose names begin with these hold tensors as well, but no network.
NOT_A_NETWORK = ("optim", "scheduler", "scaler", "criterion", "loss")
COUNTERS = ("n_averaged",)  # torch.optim.swa_utils.AveragedModel keeps these beside the weights
LISTED = 8  # number of keys that an error lists

Path = tuple[str, ...]
WEIGHTS_NEEDED = (
    "a state dict (name → tensor), or a dict that holds one under 'state_dict' or 'model'",
    "torch.save({'arch': 'torchvision/resnet18', 'state_dict': model.state_dict()}, 'model.pt')",
)


def select(
    content: Mapping[Any, Any], key: str | None, *, settings: SelectionSettings = SelectionSettings()
) -> tuple[Path, Mapping[Any, Any] | nn.Module, tuple[str, ...]]:
    """Returns the keys that lead to the weights, the state dict or network there, and a sentence on the choice.

    Averaged weights (EMA, SWA) are preferred to the raw ones beside them, because papers and timm report their
    accuracy.

    Args:
        content: Content of the file.
        key: Key that the user asks for: an entry (`state_dict`, `model.state_dict`), or a prefix of names inside the
            weights.
        settings: Where weights are looked for.

    Raises:
        DfqError: There are no weights, or none under `key`; or there are several, and no name says which are meant.
    """
    deepest = settings.deepest_entry
    entries = dict(_entries(content, deepest, needs_matrix=True)) or dict(
        _entries(content, deepest, needs_matrix=False)
    )
    if key is not None:
        return _named(content, entries, key)
    known = {path: entry for path, entry in entries.items() if any(part in WEIGHT_KEYS for part in path)}
    averaged = {path: entry for path, entry in entries.items() if any(EMA.search(part) for part in path)}
    if not known and not averaged:
        if any(tensor.ndim >= 2 for tensor in tensors(content).values()) or (not entries and tensors(content)):
            return (), content, ()
        if not entries:
            keys = ", ".join(str(each) for each in list(content)[:LISTED])
            raise DfqError(f"the file holds a dict without tensors (keys: {keys or 'none'})", *WEIGHTS_NEEDED)
        known = entries
    raw = sorted((path for path in known if path not in averaged), key=_rank)
    if not averaged and len(raw) > 1 and _rank(raw[0]) == _rank(raw[1]):
        raise _several(entries)
    chosen = next(iter(sorted(averaged, key=_rank)), None) or raw[0]
    others = [path for path in (*raw, *averaged) if path != chosen]
    return chosen, entries[chosen], _said(chosen, others, is_averaged=chosen in averaged)


def tensors(values: Mapping[Any, Any]) -> "OrderedDict[str, Tensor]":
    """Returns the tensors directly in `values`, with the version numbers of their modules."""
    found = OrderedDict(
        (key, value)
        for key, value in values.items()
        if isinstance(key, str) and isinstance(value, Tensor) and key not in COUNTERS
    )
    versions = getattr(values, "_metadata", None)  # some modules need their versions to load older files
    if isinstance(versions, Mapping):
        found._metadata = versions  # type: ignore[attr-defined]
    return found


def _entries(
    content: Mapping[Any, Any], deepest: int, *, needs_matrix: bool, path: Path = (), seen: tuple[int, ...] = ()
) -> Iterator[tuple[Path, Mapping[Any, Any] | nn.Module]]:
    """Yields everything inside `content` that may be weights; of entries inside each other, only the innermost."""
    for key, value in content.items():
        if not isinstance(key, str) or key.lower().startswith(NOT_A_NETWORK) or id(value) in (*seen, id(content)):
            continue
        if isinstance(value, nn.Module):
            yield (*path, key), value
        elif isinstance(value, Mapping) and len(path) < deepest:
            around = (*seen, id(content))
            inner = list(_entries(value, deepest, needs_matrix=needs_matrix, path=(*path, key), seen=around))
            yield from inner
            found = tensors(value).values()
            if not inner and any(tensor.ndim >= 2 or not needs_matrix for tensor in found):
                yield (*path, key), value


def _rank(path: Path) -> int:
    return min((WEIGHT_KEYS.index(part) for part in path if part in WEIGHT_KEYS), default=len(WEIGHT_KEYS))


def _named(
    content: Mapping[Any, Any], entries: Mapping[Path, Mapping[Any, Any] | nn.Module], key: str
) -> tuple[Path, Mapping[Any, Any] | nn.Module, tuple[str, ...]]:
    by_name = {".".join(path): path for path in entries}
    outer = [path for path in entries if path[0] == key]
    if key in by_name or len(outer) == 1:
        path = by_name.get(key) or outer[0]
        return path, entries[path], ()
    for path, entry in {**entries, (): content}.items():
        prefix = f"{key}.".removeprefix("".join(f"{part}." for part in path))
        if isinstance(entry, Mapping) and (inside := _inside(entry, prefix)):
            return path, inside, ()
    raise _absent(content, entries, key)


def _inside(entry: Mapping[Any, Any], prefix: str) -> "OrderedDict[str, Tensor]":
    """Returns the tensors whose names begin with `prefix`, without that prefix."""
    weights = tensors(entry)
    found = OrderedDict((k.removeprefix(prefix), v) for k, v in weights.items() if prefix and k.startswith(prefix))
    versions = getattr(weights, "_metadata", None)
    if isinstance(versions, Mapping):
        moved = {f"{name}.".removeprefix(prefix).removesuffix("."): v for name, v in versions.items()}
        found._metadata = moved  # type: ignore[attr-defined]
    return found


def _absent(content: Mapping[Any, Any], entries: Mapping[Path, Any], key: str) -> DfqError:
    present = [".".join(path) for path in entries]
    for entry in (*entries.values(), content):
        if isinstance(entry, Mapping):
            present += sorted({name.split(".")[0] for name in tensors(entry) if "." in name})
    listed = ", ".join(dict.fromkeys(present[:LISTED])) + (", …" if len(present) > LISTED else "")
    return DfqError(
        f"--weights {key}: no weights under that key",
        f"a key of the file, or the first part of the names inside: {listed or 'none is there'}",
        f"--weights {present[0]}, or leave --weights out" if present else "leave --weights out",
    )


def _several(entries: Mapping[Path, Any]) -> DfqError:
    names = [".".join(path) for path in entries]
    return DfqError(
        f"the file holds weights under {', '.join(names[:LISTED])}",
        "one network",
        f"name it: --weights {names[0]}",
    )


def _said(chosen: Path, others: list[Path], *, is_averaged: bool) -> tuple[str, ...]:
    if not others:
        return ()
    name, rest = ".".join(chosen), [".".join(path) for path in others]
    if is_averaged:
        return (averaged_sentence(name, rest),)
    listed = " and ".join(f"'{other}'" for other in rest)
    return (f"the weights under '{name}', the commonest name; not taken: {listed} (--weights {rest[0]})",)
