"""Settings of the preparations, of ranges from BatchNorm's parameters, and of the corrections of biases."""

from dataclasses import dataclass

from dfq.student.settings import CalibrationSettings


@dataclass(frozen=True, kw_only=True)
class PreparationSettings:
    """Settings of the check that a preparation changes no result.

    Attributes:
        compared: Largest number of images, and of images of noise, that both teachers are run on.
        tolerance: Largest difference of the logits, as a part of their spread. Rounding in floating point stays far
            below it.
        weight_rtol: Largest relative difference between a weight of the student and that of the rewritten teacher.
        weight_atol: Largest absolute difference between the two, which is added to the relative one.
    """

    compared: int = 16
    tolerance: float = 1e-3
    weight_rtol: float = 1e-4
    weight_atol: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class DrawnMapSettings:
    """Settings of the Gaussian maps that are drawn from BatchNorm's parameters.

    Attributes:
        passes: Number of passes over the network.
        maps: Number of maps in each pass.
        between_images: Share of a channel's variance that all pixels of an image have in common, in [0, 1].
    """

    passes: int = 4
    maps: int = 16
    between_images: float = 0.5


@dataclass(frozen=True, kw_only=True)
class MomentRangeSettings:
    """Settings of ranges from BatchNorm's parameters.

    Attributes:
        drawn: How maps are drawn.
        samples_per_tensor: Number of values of one tensor that are kept, in all passes together.
        united_from: Bits from which on a grid also spans the range that images show.
    """

    drawn: DrawnMapSettings = DrawnMapSettings()
    samples_per_tensor: int = CalibrationSettings.samples_per_tensor
    united_from: int = 6


@dataclass(frozen=True, kw_only=True)
class BiasCorrectionSettings:
    """Settings of the bias correction on images.

    Attributes:
        max_images: Largest number of images that are used. A layer's outputs for all of them are held at once, which
            takes about 0.8 GB for an ImageNet stem.
        batch_size: Number of images in one pass through the reference; the student's pass takes all at once.
        largest_factor: Largest factor, and inverse of the smallest one, that a channel's weights are multiplied by. A
            larger one would come from a channel that is almost constant.
    """

    max_images: int = 256
    batch_size: int = 64
    largest_factor: float = 2.0


@dataclass(frozen=True, kw_only=True)
class ImageCorrectionSettings:
    """Settings of the correction on images of the layers of which BatchNorm says nothing.

    Attributes:
        correction: Settings of the bias correction.
        spread_below: The spread is matched, too, where some grid of the student has fewer bits than this. Coarse grids
            clip and blur, and the spread shrinks from layer to layer; at 8 bits it does not, and what would be matched
            is what the images lack (decision record 0032).
    """

    correction: BiasCorrectionSettings = BiasCorrectionSettings()
    spread_below: int = 8


@dataclass(frozen=True, kw_only=True)
class MomentCorrectionSettings:
    """Settings of the bias correction on maps that are drawn from BatchNorm's parameters.

    Attributes:
        drawn: How maps are drawn.
        largest_factor: Largest factor, and inverse of the smallest one, that a channel's weights are multiplied by.
    """

    drawn: DrawnMapSettings = DrawnMapSettings()
    largest_factor: float = BiasCorrectionSettings.largest_factor
