"""Labelled images that are read from disk for the report alone: nothing is trained, calibrated or chosen on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfq.errors import DfqError
from dfq.images.image_files import SUFFIXES, image_files, read_image
from dfq.images.input_spec import InputSpec
from dfq.images.npz import read_arrays
from dfq.images.settings import LabelledImageSettings
from dfq.system.reading import check_is_file, reading

FORMATS = "a folder with one sub-folder of images per class, or an .npz with 'images' and 'labels'"
ARRAYS = ("images", "labels")
MAX_NAMES = 8  # An error message names at most this many arrays.
WRITE_NPZ = "write it with numpy.savez(path, images=…, labels=…) from arrays of uint8 and int64"


@dataclass(frozen=True)
class Labelled:
    """Real images and their classes.

    Attributes:
        images: Pixels of the network's input size, uint8 (N, H, W, C).
        labels: Classes in [0, num_classes), int64 (N,).
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def read_labelled(
    path: str | Path,
    input_spec: InputSpec,
    num_classes: int,
    *,
    settings: LabelledImageSettings = LabelledImageSettings(),
) -> Labelled:
    """Reads an `.npz` or a folder of classes.

    An `.npz` holds `images`, uint8 (N, H, W, C) of exactly the input size ((N, H, W) where C = 1), and `labels`,
    whole numbers (N,). A folder has one sub-folder for each class. In sorted order (for ImageNet, of the WordNet ids)
    they are the classes 0, 1, …; their images are resized and cropped at the centre. A network with a single logit
    has two classes.

    Raises:
        DfqError: Something is missing, damaged, or does not fit the network.
    """
    path, num_classes = Path(path), max(num_classes, 2)
    if path.is_dir():
        return _read_folder(path, input_spec, num_classes, settings)
    check_is_file(path, FORMATS, "check the path given to --data")
    if path.stat().st_size == 0:
        raise DfqError(f"'{path}' is empty (0 bytes)", FORMATS, "copy or write the file again")
    return _read_npz(path, input_spec, num_classes)


def _read_npz(path: Path, input_spec: InputSpec, num_classes: int) -> Labelled:
    arrays = _arrays(path)
    images = checked_images(arrays["images"], path, input_spec)
    labels = checked_labels(arrays["labels"], path, len(images), num_classes)
    return Labelled(images, labels)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays 'images' and 'labels' of the file."""
    with reading(path, FORMATS, WRITE_NPZ):
        arrays, names = read_arrays(path, ARRAYS)
    if not arrays:
        raise DfqError(
            f"'{path}' with the arrays {', '.join(names[:MAX_NAMES]) or '(none)'}",
            "arrays named 'images' and 'labels'",
            WRITE_NPZ,
        )
    return dict(zip(ARRAYS, arrays, strict=True))


def checked_images(images: np.ndarray, path: str | Path, input_spec: InputSpec) -> np.ndarray:
    """Returns images of the network's input size as uint8 (N, H, W, C), or raises a `DfqError` that names `path`."""
    channels, height, width = input_spec.size
    if images.dtype != np.uint8:
        raise DfqError(
            f"images of type {images.dtype} in '{path}'",
            "uint8 pixels from 0 to 255",
            "store raw pixels, before any normalisation; (pixels * 255).round().astype('uint8') for pixels in [0, 1]",
        )
    if images.ndim == 3 and channels == 1:
        images = images[..., None]
    if images.ndim and len(images) == 0:
        raise DfqError(f"no image in '{path}'", "at least one", "check how the file was written")
    if images.shape[1:] != (height, width, channels):
        is_channels_first = images.shape[1:] == (channels, height, width)
        raise DfqError(
            f"images of shape {images.shape} in '{path}'",
            f"(N, {height}, {width}, {channels}), the network's input size",
            "images.transpose(0, 2, 3, 1)"
            if is_channels_first
            else "resize the images, or give the network's own size with --input-size",
        )
    return images


def checked_labels(labels: np.ndarray, path: str | Path, count: int, num_classes: int) -> np.ndarray:
    """Returns the labels of `count` images as int64 (N,), or raises a `DfqError` that names `path`."""
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise DfqError(
            f"labels of type {labels.dtype} and shape {labels.shape} in '{path}'",
            f"whole numbers of shape ({count},)",
            "store class numbers: labels.astype('int64'), or one_hot.argmax(1)",
        )
    if len(labels) != count:
        raise DfqError(
            f"{count} images and {len(labels)} labels in '{path}'",
            "as many labels as images",
            "check how the file was written",
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DfqError(
            f"labels from {labels.min()} to {labels.max()} in '{path}'",
            f"classes from 0 to {num_classes - 1}, as the network has {num_classes}",
            "number the classes from 0 in the order that the network was trained with",
        )
    return labels.astype(np.int64)


def _read_folder(path: Path, input_spec: InputSpec, num_classes: int, settings: LabelledImageSettings) -> Labelled:
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if len(classes) != num_classes:
        raise DfqError(
            f"{len(classes)} sub-folders in '{path}'",
            f"{num_classes}, one per class of the network: their sorted names give the class numbers",
            "add empty sub-folders for classes without images, or use an .npz with 'images' and 'labels'",
        )
    files = [(file, label) for label, folder in enumerate(classes) for file in image_files(folder)]
    if not files:
        raise DfqError(f"no image in '{path}'", f"images in the sub-folders ({', '.join(sorted(SUFFIXES))})")
    channels, height, width = input_spec.size
    _check_memory(path, len(files) * channels * height * width, settings.max_bytes)
    images = np.stack([read_image(file, input_spec, settings) for file, _ in files])
    return Labelled(images, np.array([label for _, label in files], np.int64))


def _check_memory(path: Path, size: int, max_size: int) -> None:
    if size > max_size:
        raise DfqError(
            f"images of {size / 2**30:.0f} GiB in '{path}'",
            f"at most {max_size / 2**30:.0f} GiB, since all are held in memory",
            "a part of them is enough for a report: copy a few thousand",
        )
