"""The tensors between blocks: as the quantized blocks give them, and as the teacher does."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dfq.graph.outputs import Outputs, as_tuple
from dfq.post_training.reconstruction.block_data import BlockData, own_batches, store_outputs, take, variance
from dfq.post_training.reconstruction.blocks import Block
from dfq.post_training.reconstruction.settings import StoreSettings
from dfq.system.exchange import add_up


class Activations:
    """The stores of the tensors that the next blocks read; each store is freed behind its last reader.

    Args:
        blocks: All blocks in order, of which the first one reads the images alone.
        images: Normalised images, (N, C, H, W).
        settings: Settings of the stores.

    Attributes:
        images: The number of images.
    """

    def __init__(self, blocks: Sequence[Block], images: Tensor, settings: StoreSettings):
        self.images, self.settings = len(images), settings
        (of_images,) = blocks[0].inputs
        self.quantized, self.exact = {of_images: images}, {of_images: images}
        self._last_reader = {name: block for block in blocks for name in block.inputs}

    def around(self, block: Block) -> BlockData:
        """Returns the inputs of the next block, and stores its outputs in the teacher."""
        exact = _one_or_several([self.exact[name] for name in block.inputs])
        quantized = _one_or_several([self.quantized[name] for name in block.inputs])
        return BlockData(quantized, exact, store_outputs(block.teacher, exact, self.settings))

    def go_on(self, block: Block, data: BlockData) -> None:
        """Goes on behind a block, whose `data` are those of `around`."""
        given = store_outputs(block.student, data.quantized, self.settings)
        self.quantized |= zip(block.outputs, as_tuple(given), strict=True)
        self.exact |= zip(block.outputs, as_tuple(data.targets), strict=True)
        for name in (*block.inputs, *block.outputs):
            if self._last_reader.get(name, block) is block:
                del self.quantized[name], self.exact[name]

    @torch.no_grad()
    def error(self, block: Block, data: BlockData) -> float:
        """Returns the mean squared error of a block on `data` ÷ variance of the teacher's output.

        Of several outputs, it is the mean of their errors.
        """
        wanted = tuple(take(target, torch.arange(len(data))) for target in as_tuple(data.targets))
        squared = [torch.zeros((), dtype=torch.float64, device=target.device) for target in wanted]
        for start in own_batches(len(data), self.settings.batch_size):
            part = data[start : start + self.settings.batch_size]
            inputs = [take(each, torch.arange(len(part))) for each in as_tuple(part.quantized)]
            for number, output in enumerate(as_tuple(block.student(*inputs))):
                target = wanted[number][start : start + len(part)]
                squared[number] += (output - target).square().sum()
        add_up(squared)
        errors = [
            float(total) / target.numel() / variance(target) for total, target in zip(squared, wanted, strict=True)
        ]
        return sum(errors) / len(errors)


def _one_or_several(tensors: list[Tensor]) -> Outputs:
    return tuple(tensors) if len(tensors) > 1 else tensors[0]
