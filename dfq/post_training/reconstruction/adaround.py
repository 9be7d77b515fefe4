"""AdaRound: learns whether each weight is rounded up or down (Nagel et al., ICML 2020, arXiv 2004.10568)."""

import torch
from torch import Tensor, nn

from dfq.post_training.reconstruction.settings import LearnedRoundingSettings
from dfq.quantizers.fake_quantize import SMALLEST_SCALE, FakeQuantize

SMALLEST_SHARE = 1e-4  # The smallest share, and its complement the largest one, whose logit is taken.


class LearnedRounding(nn.Module):
    """Stands in for a layer's weight quantizer while its block is reconstructed.

    ŵ = scale · (clip(⌊w / scale₀⌋ + zero_point + h, q_min, q_max) − zero_point) with
    h = clip(1.2 · sigmoid(v) − 0.1, 0, 1).
    ⌊w / scale₀⌋ is fixed; v, which starts so that ŵ = w, and the scale are learned (the latter: Jeon et al., Genie,
    CVPR 2023).

    Args:
        quantizer: Calibrated quantizer of the weight.
        weight: Weight (out, …), float32.
        settings: Settings of learned rounding.

    Attributes:
        decided: Whether weights are rounded fully up or down, as `settle` will round them.
    """

    def __init__(
        self, quantizer: FakeQuantize, weight: Tensor, settings: LearnedRoundingSettings = LearnedRoundingSettings()
    ):
        super().__init__()
        self.spec, self.settings, self.decided = quantizer.spec, settings, False
        shape = [-1] + [1] * (weight.dim() - 1)
        scale, zero_point = (parameter.view(shape) for parameter in quantizer.qparams())
        steps = weight.detach() / scale
        self.scale = nn.Parameter(scale.clone())
        self.register_buffer("zero_point", zero_point.clone())
        self.register_buffer("floor", steps.floor())
        share = (steps - self.floor - settings.lowest) / (settings.highest - settings.lowest)
        share = share.clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        self.v = nn.Parameter(torch.logit(share))
        self.zero_point: Tensor
        self.floor: Tensor

    def upward(self) -> Tensor:
        """Returns h: how far each weight is rounded up, in [0, 1]."""
        lowest, highest = self.settings.lowest, self.settings.highest
        return (torch.sigmoid(self.v) * (highest - lowest) + lowest).clamp(0, 1)

    def forward(self, weight: Tensor) -> Tensor:
        return self._on_grid(self._for_good(weight) if self.decided else self.upward())

    def _for_good(self, weight: Tensor) -> Tensor:
        return (self.upward() >= 0.5).to(weight.dtype)

    def _on_grid(self, upward: Tensor) -> Tensor:
        integers = (self.floor + self.zero_point + upward).clamp(self.spec.q_min, self.spec.q_max)
        return (integers - self.zero_point) * self.scale.clamp(min=SMALLEST_SCALE)

    def undecided(self, sharpness: float) -> Tensor:
        """Returns Σ 1 − |2h − 1|^sharpness, a scalar, which is 0 once every weight is rounded fully up or down."""
        return (1 - (2 * self.upward() - 1).abs().pow(sharpness)).sum()

    @torch.no_grad()
    def settle(self, quantizer: FakeQuantize, weight: nn.Parameter) -> None:
        """Writes what was learned into the layer: the scale, and weights that round to the chosen grid points.

        A weight stays where it was within the cell of its grid point, so that later training goes on from there.

        Args:
            quantizer: The layer's own quantizer, which gets the scale.
            weight: The layer's weight.
        """
        scale = self.scale.clamp(min=SMALLEST_SCALE)
        rounded = self._on_grid(self._for_good(weight))
        offset = (weight / scale - rounded / scale).clamp(-self.settings.in_cell, self.settings.in_cell)
        weight.copy_(rounded + offset * scale)
        quantizer.scale.copy_(scale.view_as(quantizer.scale))
