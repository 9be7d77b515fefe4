"""Settings of the generator network, and of the pass that gives labels to images."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GeneratorNetworkSettings:
    """How the layers of `dfq.calibration.generator_network.Generator` follow from the size of the images.

    Attributes:
        doublings: Smallest number of times that the resolution is doubled.
        start_side: A doubling is added as long as the longer side of the images, halved once for each doubling and
            rounded down, exceeds this number of pixels.
        min_channels: Smallest number of channels of the fine half, which has half of the coarse half's channels.
        negative_slope: Slope of the leaky ReLUs for negative inputs.
    """

    doublings: int = 2
    start_side: int = 16
    min_channels: int = 16
    negative_slope: float = 0.2


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """How the teacher labels images whose method drew no labels.

    Attributes:
        batch_size: Number of images in one pass through the teacher.
    """

    batch_size: int = 64
