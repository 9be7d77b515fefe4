"""QDrop: while a block is fitted, some activations stay unquantized (Wei et al., ICLR 2022, arXiv 2203.05740)."""

import torch
from torch import Tensor, nn

from dfq.fake_quant import FakeQuantize


class DroppedQuantize(nn.Module):
    """Quantizes each element with probability 1 − `drop`: a flatter loss, fit for images other than these.

    Args:
        quantizer: learns its scale through the elements that it rounds.
    """

    def __init__(self, quantizer: FakeQuantize, drop: float):
        super().__init__()
        self.quantizer, self.drop = quantizer, drop

    def forward(self, values: Tensor) -> Tensor:
        return mixed(self.quantizer(values), values, self.drop)


def mixed(quantized: Tensor, exact: Tensor, drop: float) -> Tensor:
    """`exact` where a coin of probability `drop` says so, else `quantized`; element by element."""
    return torch.where(torch.rand_like(exact, dtype=torch.float32) < drop, exact, quantized)
