"""Where a block's inputs and targets are kept: in memory, or in a mapped file where they are too large for it."""

import tempfile
from math import prod
from pathlib import Path

import torch
from torch import Tensor

MEMORY_LIMIT = 2 * 2**30  # bytes of one store that may stay in memory
GPU_SHARE = 0.2  # of a GPU's free memory, for one store: four of them and a fitted block are there at once
DTYPE = torch.float16  # its error is far below that of the grids
BATCH_SIZE = 32


def memory_limit(device: torch.device) -> int:
    """Bytes of one store that may stay in the memory of `device`."""
    if device.type != "cuda":
        return MEMORY_LIMIT
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * GPU_SHARE)


def empty_store(shape: tuple[int, ...], *, limit: int | None = None, device: torch.device | None = None) -> Tensor:
    """An uninitialised float16 tensor of `shape`; above `limit` bytes it lies in a temporary file.

    The file has no name: it is gone as soon as the tensor is.

    Args:
        limit: None: `memory_limit`.
    """
    size = prod(shape)
    if size * DTYPE.itemsize <= (memory_limit(device or torch.device("cpu")) if limit is None else limit):
        return torch.empty(shape, dtype=DTYPE, device=device)
    with tempfile.TemporaryDirectory() as folder:  # removed while mapped: the mapping keeps the bytes alive
        path = Path(folder) / "activations"
        return torch.from_file(str(path), shared=True, size=size, dtype=DTYPE).view(shape)


@torch.no_grad()
def store_outputs(network, inputs: Tensor, *, batch_size: int = BATCH_SIZE, limit: int | None = None) -> Tensor:
    """`network`'s outputs of all inputs (N, …), computed `batch_size` at a time."""
    stored: Tensor | None = None
    for start in range(0, len(inputs), batch_size):
        part = inputs[start : start + batch_size]
        output = network(part.float())
        if stored is None:
            stored = empty_store((len(inputs), *output.shape[1:]), limit=limit, device=output.device)
        stored[start : start + len(output)] = output.to(DTYPE)
    assert stored is not None
    return stored


def take(stored: Tensor, index: Tensor) -> Tensor:
    """The rows of a store, float32; images in the memory order that convolutions are fastest in."""
    part = stored[index.to(stored.device)].float()
    return part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part
