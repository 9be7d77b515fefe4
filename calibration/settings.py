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


@dataclass(frozen=True, kw_only=True)
class DeadLeavesSettings:
    """The recipe of dead leaves; lengths are parts of the shorter side of an image unless it says pixels.

    Attributes:
        least: Smallest radius of a shape.
        least_pixels: Smallest radius of a shape in pixels, for small images.
        most: Largest radius of a shape.
        coverage: Area of all shapes as a multiple of that of the image.
        large: Smallest radius of the shapes that are painted last.
        large_shapes: Number of these shapes.
        mean: Least and largest luminance of an image, in [0, 1].
        tint: Standard deviation of the image's mean colour around its luminance.
        luminance: Standard deviation of the shapes' luminance around the image's.
        chroma: Least and largest standard deviation of the shapes' chroma; each image draws its own.
        blur: Least and largest standard deviation of the blur in pixels.
    """

    least: float = 2.5 / 224
    least_pixels: float = 1.0
    most: float = 0.5
    coverage: float = 12.0
    large: float = 30 / 224
    large_shapes: int = 3
    mean: tuple[float, float] = (0.3, 0.65)
    tint: float = 0.05
    luminance: float = 0.22
    chroma: tuple[float, float] = (0.03, 0.18)
    blur: tuple[float, float] = (0.4, 1.0)
