"""QDrop: while a block is fitted, some activations stay unquantized (Wei et al., ICLR 2022, arXiv 2203.05740)."""

import torch
from torch import Tensor, nn

from dfq.quantizers.fake_quantize import FakeQuantize

SIDES = 256  # The values of a byte: a coin is one random byte, so probabilities are multiples of 1/256.


class DroppedQuantize(nn.Module):
    """Quantizes each element with probability 1 − `drop`.

    This makes the loss flatter, so that the result also fits images other than these.

    Args:
        quantizer: Quantizer, which learns its scale through the elements that it rounds.
        drop: Probability that an element is left unquantized, in [0, 1].
    """

    def __init__(self, quantizer: FakeQuantize, drop: float):
        super().__init__()
        self.quantizer, self.drop = quantizer, drop

    def forward(self, values: Tensor) -> Tensor:
        return mixed(self.quantizer(values), values, self.drop)


def mixed(quantized: Tensor, exact: Tensor, drop: float) -> Tensor:
    """Returns, element by element, `exact` with probability `drop`, and else `quantized`."""
    # `torch.where` would take ten times as long on a CPU. Both ends of lerp are exact.
    return torch.lerp(quantized, exact, _coins(exact, drop))


def _coins(like: Tensor, probability: float) -> Tensor:
    """Returns elements that are 1 with that probability, else 0, in the shape, type and memory order of `like`.

    Eight elements share one random draw.
    """
    draws = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device)
    sides = draws.random_(-(2**63), None).view(torch.uint8)[: like.numel()].to(like.dtype)
    return (round(probability * SIDES) - sides).clamp_(0, 1).as_strided(like.shape, torch.empty_like(like).stride())
