"""Checks what a killed training has left, before anything goes on from it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")


def same_type(found: Any, own: Value) -> Value:
    """Returns what was found; raises `ValueError` where its type is another one than that of this run's own value."""
    if type(found) is not type(own):
        raise ValueError(f"a {type(found).__name__} in place of a {type(own).__name__}")
    return found


def check_fits(found: Mapping[str, Any], own: Mapping[str, Tensor]) -> None:
    """Raises `ValueError` where tensors do not have the names, shapes and types of this run's own ones."""
    if found.keys() != own.keys():
        raise ValueError("tensors of another network")
    for name, tensor in own.items():
        each = found[name]
        if not isinstance(each, Tensor) or each.shape != tensor.shape or each.dtype != tensor.dtype:
            raise ValueError(f"'{name}' has another shape or type")


def check_groups(found: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> None:
    """Raises `ValueError` where the settings of an optimizer are others than this run's, besides its learning rate."""
    for theirs, ours in zip(found, own, strict=True):
        if theirs.keys() != ours.keys():
            raise ValueError("settings of another optimizer")
        for name, value in ours.items():
            if isinstance(value, float):
                same_type(theirs[name], value)
            elif name != "params" and theirs[name] != value:
                raise ValueError(f"an optimizer with another '{name}'")
