"""`take_labelled` accepts labelled images in any form that a caller has; they are for the report alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from dfq.errors import DfqError
from dfq.images.image_files import fitted_image, in_8_bits
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import Labelled, checked_images, checked_labels, read_labelled
from dfq.images.settings import LabelledImageSettings

LabelledData = str | Path | Labelled | tuple[np.ndarray, np.ndarray] | Dataset | None
NEEDED = "a folder of classes, an .npz file, (images, labels) as arrays, or a torch Dataset of (image, label) pairs"
NAME = "the data"  # Error messages call the data so, as there is no path to name.


def take_labelled(
    data: LabelledData,
    input_spec: InputSpec,
    num_classes: int,
    *,
    settings: LabelledImageSettings = LabelledImageSettings(),
) -> Labelled | None:
    """Returns labelled images of the network's input size; None where `data` is None.

    Args:
        data: A path as in `read_labelled`; a `Labelled`; a pair of images, uint8 (N, H, W, C), and labels, whole
            numbers (N,); or a torch `Dataset` whose items are pairs of an image and a label. Its images are PIL images,
            which are resized and cropped at the centre, or tensors (C, H, W) of uint8 or of floating point in [0, 1],
            before any normalisation.

    Raises:
        DfqError: Something does not fit the network.
    """
    if data is None or isinstance(data, Labelled):
        return data
    if isinstance(data, str | Path):
        return read_labelled(data, input_spec, num_classes, settings=settings)
    if isinstance(data, tuple) and len(data) == 2:
        return _checked(np.asarray(data[0]), np.asarray(data[1]), input_spec, num_classes)
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise DfqError(f"labelled images as {type(data).__name__}", NEEDED)
    items: Any = data
    pairs = [items[index] for index in range(len(items))]
    if not pairs or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
        raise DfqError("a data set that is empty, or whose items are no (image, label) pairs", NEEDED)
    images = np.stack([_pixels(image, input_spec, settings) for image, _ in pairs])
    return _checked(images, np.array([int(label) for _, label in pairs]), input_spec, num_classes)


def _checked(images: np.ndarray, labels: np.ndarray, input_spec: InputSpec, num_classes: int) -> Labelled:
    images = checked_images(images, NAME, input_spec)
    return Labelled(images, checked_labels(labels, NAME, len(images), max(num_classes, 2)))


def _pixels(image: Any, input_spec: InputSpec, settings: LabelledImageSettings) -> np.ndarray:
    """Returns one image as uint8 (H, W, C)."""
    channels, height, width = input_spec.size
    if isinstance(image, Image.Image):
        image = in_8_bits(image, channels)
        if image.size != (width, height):
            image = fitted_image(image, height, width, settings=settings)
        return np.asarray(image).reshape(height, width, channels)
    tensor = torch.as_tensor(image)
    if tensor.ndim != 3:
        raise DfqError(f"an image of shape {tuple(tensor.shape)}", f"({channels}, {height}, {width})")
    if tensor.is_floating_point():
        if float(tensor.min()) < 0 or float(tensor.max()) > 1:
            raise DfqError(
                f"pixels from {float(tensor.min()):.2g} to {float(tensor.max()):.2g}",
                "pixels in [0, 1], before any normalisation",
                "leave the Normalize out of the data set's transform",
            )
        tensor = (tensor * 255).round().to(torch.uint8)
    return tensor.permute(1, 2, 0).numpy()
