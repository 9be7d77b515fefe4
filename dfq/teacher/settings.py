"""Settings of the deviation from the BatchNorm statistics."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatchNormSettings:
    """Which channels of a BatchNorm layer count.

    Attributes:
        smallest_variance: Running variance, divided by the layer's mean running variance, up to which a channel is
            dead. Dead channels are left out, because they would dominate the deviation.
    """

    smallest_variance: float = 1e-3
