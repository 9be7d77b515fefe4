"""Synthetic images on disk, in the forms that other toolkits read: a folder of classes, `.npz`, safetensors."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from dfq.calibration.settings import AnswerSettings
from dfq.errors import DfqError
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.images.stored import check_stored
from dfq.system.atomic_files import WRITE_FAILURES, replacing
from dfq.system.reading import check_is_file, reading
from dfq.teacher import Teacher
from dfq.teacher.answers import answers

SAFETENSORS = "images.safetensors"
NPZ = "images.npz"
CLASSES = "classes"
PNG_CHANNELS = (1, 3)  # A PNG file is grey or coloured.
MAKE_THEM = "make it with `dfq synthesize model.pt --out DIR`, or take a run folder of `dfq quantize`"


@dataclass(frozen=True)
class StoredImages:
    """Images as they lie on disk.

    Attributes:
        pixels: Pixels (N, C, H, W), uint8.
        labels: Class of each image (N,), int64; None where nobody knows it.
        input_spec: How the network that the images were made from wants them normalised.
    """

    pixels: Tensor
    labels: Tensor | None
    input_spec: InputSpec

    def __len__(self) -> int:
        return len(self.pixels)

    def normalized(self) -> Tensor:
        """Returns what the network reads: normalised images (N, C, H, W), float32."""
        return self.input_spec.normalize(self.pixels.float() / 255)

    @classmethod
    def from_batch(cls, batch: Batch, input_spec: InputSpec) -> "StoredImages":
        """Returns the images of a batch, whose pixels are clipped to [0, 1] and rounded to 8 bits."""
        pixels = (input_spec.to_pixels(batch.images.float().cpu()) * 255).round().to(torch.uint8).contiguous()
        return cls(pixels, None if batch.labels is None else batch.labels.cpu(), input_spec)


StoredImageSource = StoredImages | str | Path


@torch.no_grad()
def with_answers(batch: Batch, teacher: Teacher, *, settings: AnswerSettings = AnswerSettings()) -> Batch:
    """Returns the batch; where its method drew no labels, a classifier's answers are its labels."""
    if batch.labels is not None or not teacher.is_classifier:
        return batch
    parts = [part.to(teacher.device) for part in batch.images.split(settings.batch_size)]
    return Batch(batch.images, torch.cat([answers(teacher(part), teacher.boundary).cpu() for part in parts]))


def read_images(source: StoredImageSource) -> StoredImages:
    """Returns the images of `dfq synthesize --out DIR` or of a run folder; `StoredImages` stay as they are.

    Args:
        source: The folder, its `images.safetensors`, or `StoredImages`.

    Raises:
        DfqError: There is no such file, it is damaged, or dfq did not write it.
    """
    if isinstance(source, StoredImages):
        return source
    path = Path(source) / SAFETENSORS if Path(source).is_dir() else Path(source)
    check_is_file(path, f"a folder with {SAFETENSORS}", MAKE_THEM)
    with reading(path, f"{SAFETENSORS} as dfq wrote it", MAKE_THEM):
        with safetensors.safe_open(path, framework="pt") as file:
            names, metadata = set(file.keys()), file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names & {"images", "labels"}}
        spec = InputSpec.from_dict(json.loads(metadata["input_spec"]))
        check_stored(tensors.get("images"), tensors.get("labels"), spec)
        return StoredImages(tensors["images"], tensors.get("labels"), spec)


def write_images(images: StoredImages, folder: str | Path, num_classes: int) -> list[Path]:
    """Writes `images.safetensors`, `images.npz` and the folder `classes`; returns what was written.

    Every `--data` option reads the last two. The `.npz` holds `images`, uint8 (N, H, W, C), and `labels`, int64 (N,).
    `classes` holds one sub-folder of PNG files for each class; it may be empty, because the sorted names are taken for
    class numbers. Both need labels (`with_answers`), and PNG needs 1 or 3 channels; otherwise they are left out. An
    older `classes` is replaced. Every file and folder appears whole or not at all.

    Raises:
        DfqError: The folder cannot be written to.
    """
    folder, written = Path(folder), [Path(folder) / SAFETENSORS]
    labels = {} if images.labels is None else {"labels": images.labels}
    metadata = {"input_spec": json.dumps(images.input_spec.to_dict())}
    with replacing(written[0]) as temporary:
        save_file({"images": images.pixels.contiguous(), **labels}, temporary, metadata)
    if images.labels is None:
        return written
    arrays = {"images": images.pixels.permute(0, 2, 3, 1).contiguous().numpy(), "labels": images.labels.numpy()}
    written.append(folder / NPZ)
    with replacing(written[-1]) as temporary, temporary.open("wb") as file:
        np.savez(file, images=arrays["images"], labels=arrays["labels"])
    if images.pixels.shape[1] in PNG_CHANNELS:
        written.append(folder / CLASSES)
        _write_classes(written[-1], arrays["images"], arrays["labels"], num_classes)
    return written


def _write_classes(folder: Path, images: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    width = len(str(num_classes - 1))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            for label in range(num_classes):
                (made / f"{label:0{width}}").mkdir(parents=True)
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                file = made / f"{label:0{width}}" / f"{index:06}.png"
                Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file)
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
    except WRITE_FAILURES as error:
        raise DfqError(
            f"cannot write '{folder}': {error}",
            "a folder with write permission and enough free space",
            "choose another folder with --out, or free some space",
            exit_code=1,
        ) from error
