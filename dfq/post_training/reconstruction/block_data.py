"""Where a block's inputs and targets are kept: in memory, or in a mapped file where they are too large for it."""

import tempfile
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from dfq.graph.outputs import Outputs, as_tuple, for_each
from dfq.post_training.reconstruction.settings import StoreSettings
from dfq.system.exchange import copy_from
from dfq.system.processes import processes

SMALLEST_VARIANCE = 1e-12  # Outputs of a smaller one count as if they had this one.
MEASURED = 32  # The number of images that tell the variance of a block's outputs.
DTYPE = torch.float16  # The type of stored values, whose error is far below that of the grids.


@dataclass(frozen=True)
class BlockData:
    """What a block is fitted on, stored on the CPU or the student's device.

    Each attribute is one tensor (N, …), or a tuple of them where the block has several inputs or outputs.

    Attributes:
        quantized: The block's inputs as the quantized blocks before it give them.
        exact: The block's inputs in the teacher.
        targets: The block's outputs in the teacher.
    """

    quantized: Outputs
    exact: Outputs
    targets: Outputs

    @cached_property
    def variances(self) -> tuple[float, ...]:
        """The variance of each target, measured on a few images."""
        few = torch.arange(min(len(self), MEASURED))
        return tuple(variance(take(target, few)) for target in as_tuple(self.targets))

    def __len__(self) -> int:
        return len(as_tuple(self.targets)[0])

    def __getitem__(self, images: slice) -> "BlockData":
        """Returns the data of some of the images."""
        return BlockData(*(for_each(lambda t: t[images], each) for each in (self.quantized, self.exact, self.targets)))


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
def store_outputs(network, inputs: Outputs, settings: StoreSettings = StoreSettings()) -> Outputs:
    """Returns a store of each of `network`'s outputs of all inputs, which are one tensor (N, …) or a tuple of them.

    The processes of a run compute some of the batches each, and all of them store everything.
    """
    count, own = len(as_tuple(inputs)[0]), own_batches(len(as_tuple(inputs)[0]), settings.batch_size)
    stored: Outputs | None = None
    for start in own or range(1):  # A process without a batch needs the shapes of the outputs.
        part = slice(start, start + settings.batch_size)
        outputs = network(*(each[part].float() for each in as_tuple(inputs)))
        if stored is None:
            stored = for_each(lambda o: empty_store((count, *o.shape[1:]), o.device, settings), outputs)
        for store, output in zip(as_tuple(stored), as_tuple(outputs), strict=True):
            store[part] = output.to(DTYPE)
    assert stored is not None
    for number, start in enumerate(range(0, count, settings.batch_size)):
        part = slice(start, start + settings.batch_size)
        copy_from([store[part] for store in as_tuple(stored)], source=number % processes().count)
    return stored


def own_batches(count: int, batch_size: int) -> range:
    """Returns where the batches of `count` images begin that this process passes through a block."""
    now = processes()
    return range(now.rank * batch_size, count, now.count * batch_size)


def take(stored: Tensor, index: Tensor) -> Tensor:
    """Returns rows of a store, float32; images are in the memory order in which convolutions are fastest."""
    part = stored[index.to(stored.device)].float()
    return part.contiguous(memory_format=torch.channels_last) if part.dim() == 4 else part


def variance(values: Tensor) -> float:
    """Returns the variance of all values, by which squared errors are divided."""
    return max(float(values.var()), SMALLEST_VARIANCE)
