"""`take_pictures` reads real pictures without labels; they are for the report alone."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfq.errors import DfqError
from dfq.images.image_files import SUFFIXES, image_files, read_image
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import checked_images
from dfq.images.settings import LabelledImageSettings

Pictures = str | Path | np.ndarray | None


def take_pictures(
    pictures: Pictures, input_spec: InputSpec, *, settings: LabelledImageSettings = LabelledImageSettings()
) -> Tensor | None:
    """Returns pictures as normalised images (N, C, H, W) of the network's input size; None where there are none.

    Args:
        pictures: A folder, whose image files, also those of its sub-folders, are resized and cropped at the centre; or
            an array of pixels, uint8 (N, H, W, C), of the network's input size.
        input_spec: Size and normalisation of the network's images.
        settings: How image files are read.

    Raises:
        DfqError: There is no image, a file is damaged, there are more images than memory holds, or an array does not
            fit the network.
    """
    if pictures is None:
        return None
    if isinstance(pictures, np.ndarray):
        pixels = checked_images(pictures, "the pictures", input_spec)
    else:
        pixels = _read(Path(pictures), input_spec, settings)
    return input_spec.normalize(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)


def _read(folder: Path, input_spec: InputSpec, settings: LabelledImageSettings) -> np.ndarray:
    needed = f"a folder of images ({', '.join(sorted(SUFFIXES))})"
    if not folder.is_dir():
        raise DfqError(f"no folder '{folder}'", needed, "check the path")
    files = image_files(folder)
    if not files:
        raise DfqError(f"no image in '{folder}'", needed, "check the path")
    channels, height, width = input_spec.size
    size = 4 * len(files) * channels * height * width
    if size > settings.max_bytes:
        raise DfqError(
            f"images of {size / 2**30:.0f} GiB in '{folder}'",
            f"at most {settings.max_bytes / 2**30:.0f} GiB, since all are held in memory",
            "a part of them is enough for a report: copy a few hundred",
        )
    return np.stack([read_image(file, input_spec, settings) for file in files])
