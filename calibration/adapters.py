"""Synthetic images for other toolkits: OpenVINO and NNCF, ONNX Runtime's quantizer, torch."""

from collections.abc import Iterator

import numpy as np
from onnxruntime.quantization import CalibrationDataReader
from torch import Tensor
from torch.utils.data import Dataset

from dfq.calibration.stored_images import StoredImageSource, read_images

NO_LABEL = -1  # The class that an image without a label has.


class ArrayBatches:
    """Normalised images as float32 arrays (batch, C, H, W), in order, as often as they are asked for.

    `nncf.Dataset(ArrayBatches("calib/"))` calibrates an OpenVINO or ONNX model on them, and a compiled OpenVINO model
    takes them one by one.

    Args:
        source: A folder of `dfq synthesize --out`, a run folder, or `StoredImages`.
        batch_size: Number of images in an item; the last item may hold fewer.
        input_name: Name of the network's input. With it, an item is `{name: array}`, which NNCF needs for an ONNX
            model; None: an item is the array itself.
    """

    def __init__(self, source: StoredImageSource, *, batch_size: int = 1, input_name: str | None = None):
        self._images = read_images(source).normalized().numpy()
        self._batch_size, self._input_name = batch_size, input_name

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, index: int) -> np.ndarray | dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self._batch_size
        images = self._images[start : start + self._batch_size]
        return images if self._input_name is None else {self._input_name: images}

    def __iter__(self) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
        return (self[index] for index in range(len(self)))


class CalibrationReader(CalibrationDataReader):
    """Images for `onnxruntime.quantization.quantize_static`, which reads them once; `rewind` starts again.

    Args:
        source: A folder of `dfq synthesize --out`, a run folder, or `StoredImages`.
        input_name: Name of the network's input; it is 'images' in the files that dfq exports.
        batch_size: Number of images in one run of the network.
    """

    def __init__(self, source: StoredImageSource, *, input_name: str = "images", batch_size: int = 1):
        self._batches = ArrayBatches(source, batch_size=batch_size, input_name=input_name)
        self.rewind()

    def __len__(self) -> int:
        """Returns the number of all batches, whatever part of them is chosen."""
        return len(self._batches)

    def rewind(self) -> None:
        """Chooses all batches, so that the first one comes next."""
        self.set_range(0, len(self._batches))

    def set_range(self, start_index: int, end_index: int) -> None:
        """Chooses the batches from `start_index` to before `end_index`; the runtime calibrates in such portions."""
        self._next, self._end = start_index, min(end_index, len(self._batches))

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]  # None is the documented end
        """Returns the next batch as {input name: float32 (batch, C, H, W)}; None after the last one."""
        if self._next >= self._end:
            return None
        self._next += 1
        batch = self._batches[self._next - 1]
        assert isinstance(batch, dict)
        return batch


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Pairs of a normalised image (C, H, W) in float32 and its class, as torchvision's datasets give them.

    Args:
        source: A folder of `dfq synthesize --out`, a run folder, or `StoredImages`. Images without labels have
            class −1.
    """

    def __init__(self, source: StoredImageSource):
        stored = read_images(source)
        self._images, self._labels = stored.normalized(), stored.labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._images[index], NO_LABEL if self._labels is None else int(self._labels[index])
