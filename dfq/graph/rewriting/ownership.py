"""What a graph calls and reads: tensors and layers under dotted names."""

from typing import Any

import torch
from torch import Tensor, nn


def put(root: nn.Module, name: str, value: nn.Module | Tensor) -> None:
    """Assigns by a dotted name; the modules on the way are made."""
    *path, last = name.split(".")
    for part in path:
        if not isinstance(getattr(root, part, None), nn.Module):
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    before = getattr(root, last, None)
    if isinstance(value, nn.Module) and isinstance(before, nn.Module):  # what lies inside came first
        for inner, child in (*before.named_children(), *before.named_parameters(recurse=False)):
            setattr(value, inner, child)
    if isinstance(value, (nn.Module, nn.Parameter)):
        setattr(root, last, value)
    else:
        root.register_buffer(last, value)


def same_layer(first: Any, second: nn.Module) -> bool:
    """Whether two layers are one: the same tensors, called the same way."""
    if not isinstance(first, nn.Module) or repr(first) != repr(second):
        return False
    tensors, others = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (first, second))
    kept = [name for name in tensors if name != "num_batches_tracked"]
    return all(name in others and _same_tensor(tensors[name], others[name]) for name in kept)


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    """Whether both are one, or were computed alike."""
    return first.data_ptr() == second.data_ptr() or torch.equal(first, second)
