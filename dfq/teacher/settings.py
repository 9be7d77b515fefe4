"""Settings of the deviation from the BatchNorm statistics."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatchNormSettings:
    """Which channels of a BatchNorm layer count, and how many such layers a network needs.

    Attributes:
        smallest_variance: Running variance, divided by the layer's mean running variance, up to which a channel is
            dead. Dead channels are left out, because they would dominate the deviation.
        least_share: Fewest BatchNorm layers, as a part of the number of convolutions and linear layers, with which the
            statistics describe a network. A transformer may have a few in its head alone.
    """

    smallest_variance: float = 1e-3
    least_share: float = 0.2
