"""Settings of the ways in which images are written down while they are optimised."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PixelGridSettings:
    """Which grids `PixelGrids` sums up, and how they start.

    Attributes:
        amplitudes: Standard deviations of the random start, in logits: that of the finest grid first. Coarser grids
            than these start with the last one.
        min_side: Smallest side of a grid in pixels.
    """

    amplitudes: tuple[float, ...] = (0.1, 0.25, 0.4, 0.5)
    min_side: int = 2


@dataclass(frozen=True, kw_only=True)
class FreePixelSettings:
    """How `FreePixels` spread over their range.

    Attributes:
        spread: Change of a pixel, as a part of its range, for a change of 1 in what is optimised. Since that starts
            from N(0, 1), it is also the standard deviation of the first pixels; photographs have a quarter.
    """

    spread: float = 0.25


@dataclass(frozen=True, kw_only=True)
class GeneratedImageSettings:
    """The generator that `GeneratedImages` fits to each batch.

    Attributes:
        latent: Number of random numbers that an image is made from.
        width: Number of channels of the network (`dfq.calibration.generator_network.Generator`).
    """

    latent: int = 256
    width: int = 64
