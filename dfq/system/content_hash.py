"""A short text that identifies tensors or arrays: it is equal where all names, types, shapes and values are equal."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of names, types, shapes and values, in hexadecimal digits."""
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def digest_of(network: nn.Module) -> str:
    """Returns the digest of all weights and statistics of a network, in the order in which it holds them."""
    return digest({name: _bytes(tensor) for name, tensor in network.state_dict().items()})


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Returns the digest of named tensors in whatever order, which identifies a student in all files of a run."""
    return digest({name: _bytes(tensors[name]) for name in sorted(tensors)})


def _bytes(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
