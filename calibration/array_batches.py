"""Synthetic images for OpenVINO and NNCF: an iterable of NumPy batches."""

from collections.abc import Iterator

import numpy as np

from dfq.calibration.stored_images import ImageSource, read_images


class ArrayBatches:
    """Normalised images as float32 arrays (batch, C, H, W), in order, as often as they are asked for.

    This is what `nncf.Dataset(ArrayBatches("calib/"))` calibrates an OpenVINO or ONNX model on, and what a compiled
    OpenVINO model takes one by one. For an ONNX model NNCF wants inputs by name: `input_name` gives
    `{name: array}` instead.

    Args:
        source: the folder of `dfq synthesize --out`, a run folder, or `StoredImages`.
        batch_size: images per item; the last item may hold fewer.
    """

    def __init__(self, source: ImageSource, *, batch_size: int = 1, input_name: str | None = None):
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
