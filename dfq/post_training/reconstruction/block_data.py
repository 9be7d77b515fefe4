"""Where a block's inputs and targets are kept: in memory, or in a mapped file where they are too large for it."""

import tempfile
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from dfq.post_training.reconstruction.settings import StoreSettings

DTYPE = torch.float16  # The type of stored values, whose error is far below that of the grids.


def memory_limit(device: torch.device, settings: StoreSettings = StoreSettings()) -> int:
    """Returns the size in bytes up to which one store may stay in the memory of `device`."""
    if device.type != "cuda":
        return settings.memory_limit
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * settings.gpu_share)


def empty_store(shape: tuple[int, ...], device: torch.device, settings: StoreSettings = StoreSettings()) -> Tensor:
    """Returns an uninitialised float16 tensor of `shape`; beyond `memory_limit` it lies in a temporary file.

    The file has no name, so it is gone as soon as the tensor is.
    """
    size = prod(shape)
    if size * DTYPE.itemsize <= memory_limit(device, settings):
        return torch.empty(shape, dtype=DTYPE, device=device)
    with tempfile.TemporaryDirectory() as folder:  # The mapping keeps the bytes after the folder is removed.
        path = Path(folder) / "activations"
        return torch.from_file(str(path), shared=True, size=size, dtype=DTYPE).view(shape)


@torch.no_grad()
def store_outputs(network, inputs: Tensor, settings: StoreSettings = StoreSettings()) -> Tensor:
    """Returns a store of `network`'s outputs of all inputs (N, …)."""
    stored: Tensor | None = None
    for start in range(0, len(inputs), settings.batch_size):
        part = inputs[start : start + settings.batch_size]
        output = network(part.float())
        if stored is None:
            stored = empty_store((len(inputs), *output.shape[1:]), output.device, settings)
        stored[start : start + len(output)] = output.to(DTYPE)
    assert stored is not None
    return stored


def take(stored: Tensor, index: Tensor) -> Tensor:
    """Returns rows of a store, float32; images are in the memory order in which convolutions are fastest."""
    part = stored[index.to(stored.device)].float()
    return part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part
