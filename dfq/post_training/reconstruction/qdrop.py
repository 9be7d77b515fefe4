"""QDrop: while a block is fitted, some activations stay unquantized (Wei et al., ICLR 2022, arXiv 2203.05740)."""

import torch
from torch import Tensor, nn

from dfq.quantizers.fake_quantize import FakeQuantize

SIDES = 256  # a coin is one random byte: probabilities are multiples of 1/256


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
    # Not torch.where, which takes ten times as long on a CPU; both ends of lerp are exact.
    return torch.lerp(quantized, exact, _coins(exact, drop))


def _coins(like: Tensor, probability: float) -> Tensor:
    """1 with that probability, else 0; shape, type and memory order of `like`. Eight elements share one random draw."""
    draws = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device)
    sides = draws.random_(-(2**63), None).view(torch.uint8)[: like.numel()].to(like.dtype)
    return (round(probability * SIDES) - sides).clamp_(0, 1).as_strided(like.shape, torch.empty_like(like).stride())
