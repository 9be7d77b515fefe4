"""Synthetic images for ONNX Runtime's quantizer: a `CalibrationDataReader`."""

import numpy as np
from onnxruntime.quantization import CalibrationDataReader

from dfq.calibration.array_batches import ArrayBatches
from dfq.calibration.stored_images import ImageSource


class CalibrationReader(CalibrationDataReader):
    """Feeds images to `onnxruntime.quantization.quantize_static`, once through; `rewind` starts again.

    Args:
        source: the folder of `dfq synthesize --out`, a run folder, or `StoredImages`.
        input_name: of the network's input; 'images' in the files that dfq exports.
        batch_size: images per run of the network.
    """

    def __init__(self, source: ImageSource, *, input_name: str = "images", batch_size: int = 1):
        self._batches = ArrayBatches(source, batch_size=batch_size, input_name=input_name)
        self.rewind()

    def __len__(self) -> int:
        """Number of batches, whatever part of them is chosen."""
        return len(self._batches)

    def rewind(self) -> None:
        self.set_range(0, len(self._batches))

    def set_range(self, start_index: int, end_index: int) -> None:
        """Batches from `start_index` to before `end_index` come next: how the runtime calibrates in portions."""
        self._next, self._end = start_index, min(end_index, len(self._batches))

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]  # None ends it, as documented there
        """{input name: float32 (batch, C, H, W)}; None after the last batch."""
        if self._next >= self._end:
            return None
        self._next += 1
        batch = self._batches[self._next - 1]
        assert isinstance(batch, dict)
        return batch
