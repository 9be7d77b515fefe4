"""Runs a traced network on images and samples some of its tensors by channel."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx


class TensorSamples(fx.Interpreter):
    """Values of some tensors at random positions, and the largest magnitude of each of their channels.

    Args:
        network: Traced network.
        dimensions: The wanted nodes, with the dimension of the channels of each.
        images: Normalised images (N, C, H, W).
        count: Approximate number of positions of each tensor that are kept, in all images together.
        batch_size: Number of images that run together.
    """

    def __init__(
        self,
        network: fx.GraphModule,
        dimensions: Mapping[fx.Node, int],
        images: Tensor,
        count: int,
        *,
        batch_size: int = 32,
    ):
        super().__init__(network)
        self.dimensions, self.generator = dimensions, torch.Generator().manual_seed(0)
        self._rows: dict[fx.Node, list[Tensor]] = {node: [] for node in dimensions}
        self._largest: dict[fx.Node, list[Tensor]] = {node: [] for node in dimensions}
        batches = images.split(batch_size) if dimensions else ()
        self.count = -(-count // max(len(batches), 1))
        for batch in batches:
            self.run(batch)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.dimensions:
            channels = result.float().transpose(0, self.dimensions[n]).flatten(1)
            index = torch.randint(channels.shape[1], (self.count,), generator=self.generator)
            self._rows[n].append(channels[:, index.to(channels.device)].T)
            self._largest[n].append(channels.abs().amax(1))
        return result

    def rows(self, node: fx.Node) -> Tensor:
        """Returns the channels of the tensor at M positions, (M, C) in float32."""
        return torch.cat(self._rows[node])

    def largest(self, node: fx.Node) -> Tensor:
        """Returns the largest magnitude of each channel on all images, (C,) in float32."""
        return torch.stack(self._largest[node]).amax(0)
