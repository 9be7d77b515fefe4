"""`Runner`: an ONNX file that some engine has opened. Batches, shapes and errors are the same for all of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dfq.errors import DfqError
from dfq.export.engines.settings import EngineSettings
from dfq.graph.outputs import joined

MAX_LENGTH = 300  # A message quotes at most this many characters of an engine's own.


class Runner(ABC):
    """A file that takes images and gives logits, or any other outputs.

    Args:
        path: The ONNX file.
        shape: Shape of its input, (N, C, H, W); N is a number only where the file fixes it.

    Attributes:
        engine: Name of the engine in messages.
    """

    engine: str

    def __init__(self, path: str | Path, shape: tuple):
        self.path, self.shape = Path(path), shape

    @abstractmethod
    def compute(self, images: np.ndarray) -> Sequence[np.ndarray]:
        """Returns the outputs for float32 (N, C, H, W), with an N that the file takes. It may raise anything."""

    @property
    def batch_size(self) -> int | None:
        """The only N that the file takes; None if it takes any."""
        return self.shape[0] if isinstance(self.shape[0], int) else None

    def run(self, images: Tensor | np.ndarray, batch_size: int = EngineSettings().batch_size) -> Any:
        """Returns what the file gives for normalised images (N, C, H, W): an array, or a tuple of several arrays.

        A classifier's file gives logits (N, classes), float32.

        Raises:
            DfqError: The images have another shape than the file takes, or the engine fails.
        """
        array = np.ascontiguousarray(images.numpy(force=True) if isinstance(images, Tensor) else images, np.float32)
        self._check(array.shape)
        step = self.batch_size or batch_size
        return joined([self._run(array[start : start + step]) for start in range(0, len(array), step)])

    def _run(self, images: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        count = len(images)
        if self.batch_size and count < self.batch_size:  # the last batch of a file with a fixed N
            images = np.concatenate([images, np.zeros((self.batch_size - count, *images.shape[1:]), np.float32)])
        try:
            found = tuple(np.asarray(output)[:count] for output in self.compute(images))
        except Exception as error:  # each engine has its own classes, few of them public
            raise DfqError(
                f"'{self.path}' fails in {self.engine}: {first_line(error)}",
                "a file that the engine runs",
                "write it again with `dfq export`",
                exit_code=1,
            ) from error
        return found[0] if len(found) == 1 else found

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.batch_size and self.batch_size * prod(shape[1:]) > EngineSettings().most_numbers:
            raise DfqError(
                f"'{self.path}' takes {self.batch_size} images at a time, and no other number",
                f"at most {EngineSettings().most_numbers // max(prod(shape[1:]), 1)} images of this size",
                "export the network with an open number of images",
            )
        if len(shape) != 4 or shape[0] == 0 or shape[1:] != self.shape[1:]:
            size = "x".join(str(length) for length in self.shape[1:])
            raise DfqError(
                f"images of shape {tuple(shape)} for '{self.path}'",
                f"at least one image of {size}",
                f"pass images of that size, or export the network with another --input-size than {size}",
            )


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the name of its class where the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0][:MAX_LENGTH]
