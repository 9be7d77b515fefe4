"""Settings of what is done to images: when they count as large, how they are read, and how far images are made."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """When a network's input counts as large, and when its normalisation counts as standardising.

    Attributes:
        small_side: Largest side of a small image in pixels. What is done to larger images costs so much more that fewer
            are made, in smaller batches.
        smallest_spread: Smallest standard deviation that real pixels in [0, 1] are taken to have.
        largest_spread: Largest standard deviation that real pixels in [0, 1] are taken to have.
        least_std: Smallest standard deviation of a normalisation; a smaller one is a slip.
        most_mean: Largest absolute mean of a normalisation; a larger one is a slip.
        usual_numbers: Largest number of pixels × channels of the images of most networks.
        most_numbers: Largest number of pixels × channels of an image, since memory must hold many times as much.
    """

    small_side: int = 64
    smallest_spread: float = 0.15
    largest_spread: float = 0.4
    least_std: float = 1e-4
    most_mean: float = 1e4
    usual_numbers: int = 3 * 224 * 224
    most_numbers: int = 2**24


@dataclass(frozen=True, kw_only=True)
class LabelledImageSettings:
    """How labelled images are read from disk.

    Attributes:
        cropped_side: Side of the network's input in pixels from which on photographs are resized a little larger than
            the input and then cropped at the centre. For smaller inputs, only what exceeds their shape is cropped.
        crop: Part of the resized photograph's side that the crop holds, in (0, 1].
        max_pixels: Largest number of pixels of an image file, and of an image that was resized to cover the input.
        max_bytes: Largest size of all images together in bytes, since all are held in memory.
    """

    cropped_side: int = 64
    crop: float = 0.875
    max_pixels: int = 2**26
    max_bytes: int = 8 * 2**30


@dataclass(frozen=True, kw_only=True)
class FarImageSettings:
    """How images that look like nothing are made of plausible ones (decision record 0018).

    Attributes:
        blended: Number of images whose mean is one far image.
        tiles: Number of tiles along each side of an image whose tiles change places.
    """

    blended: int = 4
    tiles: int = 4
