"""Reads image files as pixels of a network's input size."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.images.settings import LabelledImageSettings

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"))
FORMATS_16_BITS = ("PNG", "PPM")  # Pillow may call their 16 bits 32.


def image_files(folder: Path) -> list[Path]:
    """Returns the image files of a folder and of its sub-folders, sorted."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def read_image(file: Path, input_spec: InputSpec, settings: LabelledImageSettings) -> np.ndarray:
    """Returns the image as uint8 (H, W, C), resized so that the crop at the centre holds most of it."""
    channels, height, width = input_spec.size
    if channels not in (1, 3):
        raise DfqError(
            f"a network that reads {channels} channels", "1 or 3 for image files", "use an .npz with 'images'"
        )
    try:
        # Pillow warns of large images, which are refused here, and of damage.
        with warnings.catch_warnings(action="ignore"), Image.open(file) as opened:
            _check_pixels(opened.size, settings)
            image = in_8_bits(opened, channels)
        if image.size != (width, height):
            image = fitted_image(image, height, width, settings=settings)
    except Exception as error:  # Pillow has a reader for each format, with errors of its own
        raise DfqError(f"'{file}' is not a whole image: {error}", "image files", "remove or replace it") from error
    return np.asarray(image).reshape(height, width, channels)


def _check_pixels(size: tuple[int, int], settings: LabelledImageSettings) -> None:
    if size[0] * size[1] > settings.max_pixels:
        raise ValueError(f"{size[0]} × {size[1]} pixels, and at most {settings.max_pixels:,} are read")


def in_8_bits(image: Image.Image, channels: int) -> Image.Image:
    """Returns an image in grey or colours of 8 bits; 16 bits are scaled, where Pillow would cut off what exceeds 255.

    Raises:
        ValueError: The pixels are numbers in floating point, or of 32 bits, whose range nobody knows.
    """
    is_16_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in FORMATS_16_BITS)
    if image.mode == "F" or (image.mode == "I" and not is_16_bits):
        raise ValueError("pixels of 32 bits, and 8 or 16 are read")
    if is_16_bits:
        pixels = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((pixels * 255 + 2**15) // (2**16 - 1)).astype(np.uint8))
    return image.convert("RGB" if channels == 3 else "L")


def fitted_image(
    image: Image.Image, height: int, width: int, *, settings: LabelledImageSettings = LabelledImageSettings()
) -> Image.Image:
    """Returns the image resized and cropped at the centre, to `height` × `width` pixels."""
    crop = settings.crop if min(height, width) >= settings.cropped_side else 1.0
    factor = max(height / image.height, width / image.width) / crop
    size = (max(round(image.width * factor), width), max(round(image.height * factor), height))
    _check_pixels(size, settings)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return resized.crop((left, top, left + width, top + height))
