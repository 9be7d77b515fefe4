"""Keeps the tensors and layers that a graph calls and reads under dotted names."""

from typing import Any

import torch
from torch import Tensor, nn


def put(root: nn.Module, name: str, value: nn.Module | Tensor) -> None:
    """Assigns a value by a dotted name, and makes the modules on the way."""
    *path, last = name.split(".")
    for part in path:
        if not isinstance(getattr(root, part, None), nn.Module):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    before = getattr(root, last, None)
    if isinstance(value, nn.Module) and isinstance(before, nn.Module):  # what lies inside was put first
        for inner, child in (*before.named_children(), *before.named_parameters(recurse=False)):
            setattr(value, inner, child)
    if isinstance(value, (nn.Module, nn.Parameter)):
        setattr(root, last, value)
    else:
        root.register_buffer(last, value)


def same_layer(first: Any, second: nn.Module) -> bool:
    """Returns whether two layers are one: they have the same tensors and compute the same with them."""
    if not isinstance(first, nn.Module) or repr(first) != repr(second):
        return False
    tensors, others = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (first, second))
    kept = [name for name in tensors if name != "num_batches_tracked"]
    return all(name in others and _same_tensor(tensors[name], others[name]) for name in kept)


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    """Returns whether two tensors share their memory or hold the same values."""
    return first.data_ptr() == second.data_ptr() or torch.equal(first, second)
