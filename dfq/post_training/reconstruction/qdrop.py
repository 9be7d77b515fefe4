"""QDrop: while a block is fitted, some activations stay unquantized (Wei et al., ICLR 2022, arXiv 2203.05740)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dfq.quantizers.fake_quantize import FakeQuantize

SIDES = 256  # The values of a byte: a coin is one random byte, so probabilities are multiples of 1/256.


@dataclass
class Dropping:
    """What is dropped in a block, and for which images of an iteration.

    Every process draws for all images, so that what is dropped of an image does not depend on their number.

    Attributes:
        probability: Probability that an element is left unquantized, in [0, 1].
        rows: Which images of the iteration pass through the block in this process.
        images: Number of images of the iteration in all processes.
    """

    probability: float
    rows: slice = field(default_factory=lambda: slice(0, 1))
    images: int = 1

    def mixed(self, quantized: Tensor, exact: Tensor) -> Tensor:
        """Returns, element by element, `exact` with the probability, and else `quantized`."""
        # `torch.where` would take ten times as long on a CPU. Both ends of lerp are exact.
        return torch.lerp(quantized, exact, self._coins(exact))

    def _coins(self, like: Tensor) -> Tensor:
        """Returns elements that are 1 with the probability, else 0, in the shape, type and memory order of `like`.

        Eight elements share one random draw.
        """
        size, own = like.numel(), self.rows.stop - self.rows.start
        first, total = size * self.rows.start // own, -(-size * self.images // own)
        draws = torch.empty(-(-total // 8), dtype=torch.int64, device=like.device)
        sides = draws.random_(-(2**63), None).view(torch.uint8)[first : first + size].to(like.dtype)
        coins = (round(self.probability * SIDES) - sides).clamp_(0, 1)
        return coins.as_strided(like.shape, torch.empty_like(like).stride())


class DroppedQuantize(nn.Module):
    """Quantizes each element unless it is dropped.

    This makes the loss flatter, so that the result also fits images other than these.

    Args:
        quantizer: Quantizer, which learns its scale through the elements that it rounds.
        dropping: What is dropped.
    """

    def __init__(self, quantizer: FakeQuantize, dropping: Dropping):
        super().__init__()
        self.quantizer, self.dropping = quantizer, dropping

    def forward(self, values: Tensor) -> Tensor:
        return self.dropping.mixed(self.quantizer(values), values)
