"""`Runner`: an ONNX file that some engine has opened. Batches, shapes and errors are the same for all of them."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from torch import Tensor

from dfq.errors import DfqError


class Runner(ABC):
    """Images in, logits out.

    Args:
        shape: of the file's input, (N, C, H, W); N is a number only where the file fixes it.

    Attributes:
        engine: its name in messages.
    """

    engine: str

    def __init__(self, path: str | Path, shape: tuple):
        self.path, self.shape = Path(path), shape

    @abstractmethod
    def compute(self, images: np.ndarray) -> np.ndarray:
        """Logits (N, classes) of float32 (N, C, H, W), N as the file takes it. May raise anything."""

    @property
    def batch_size(self) -> int | None:
        """The only N that the file takes; None if it takes any."""
        return self.shape[0] if isinstance(self.shape[0], int) else None

    def run(self, images: Tensor | np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Logits (N, classes), float32, of normalised images (N, C, H, W).

        Raises:
            DfqError: images of another shape than the file takes, or an engine that fails.
        """
        array = np.ascontiguousarray(images.numpy(force=True) if isinstance(images, Tensor) else images, np.float32)
        self._check(array.shape)
        step = self.batch_size or batch_size
        logits = [self._run(array[start : start + step]) for start in range(0, len(array), step)]
        return np.concatenate(logits)

    def _run(self, images: np.ndarray) -> np.ndarray:
        count = len(images)
        if self.batch_size and count < self.batch_size:  # the last batch of a file with a fixed N
            images = np.concatenate([images, np.zeros((self.batch_size - count, *images.shape[1:]), np.float32)])
        try:
            return self.compute(images)[:count]
        except Exception as error:  # each engine has its own classes, few of them public
            raise DfqError(f"'{self.path}' fails in {self.engine}: {first_line(error)}", exit_code=1) from error

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[0] == 0 or shape[1:] != self.shape[1:]:
            size = "x".join(str(length) for length in self.shape[1:])
            raise DfqError(
                f"images of shape {tuple(shape)} for '{self.path}'",
                f"at least one image of {size}",
                f"pass images of that size, or export the network with another --input-size than {size}",
            )


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
