"""`Engine`: an ONNX file in ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime
from torch import Tensor

from dfq.errors import DfqError

PROVIDERS = ["CPUExecutionProvider"]
ERRORS_ONLY = 3  # of ONNX Runtime's log levels


class Engine:
    """A session with `threads` threads.

    Args:
        optimized: where to write the graph that the session really runs (see `dfq.export.islands`).

    Raises:
        DfqError: the file is missing, or not an ONNX model that the runtime loads.
    """

    def __init__(self, path: str | Path, threads: int = 2, optimized: Path | None = None):
        self.path = Path(path)
        if not self.path.is_file():
            raise DfqError(f"no file '{path}'", "an ONNX file", "write one with `dfq quantize` or `dfq export`")
        self._session = self._open(_options(threads, optimized))
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(self._session.get_outputs()) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise DfqError(f"'{path}' reads {shapes}", "one input (N, C, H, W) and one output (N, classes)")
        self._input, self.shape = inputs[0].name, tuple(inputs[0].shape)

    def _open(self, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        try:
            return onnxruntime.InferenceSession(str(self.path), options, providers=PROVIDERS)
        except Exception as error:  # the runtime has one class per reason, none of them public
            raise DfqError(
                f"'{self.path}' is not an ONNX model that ONNX Runtime loads: {_first_line(error)}",
                "a whole ONNX file",
                "write it again with `dfq export`",
            ) from error

    @property
    def batch_size(self) -> int | None:
        """The only N that the file takes; None if it takes any."""
        return self.shape[0] if isinstance(self.shape[0], int) else None

    def run(self, images: Tensor | np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Logits (N, classes), float32, of normalised images (N, C, H, W).

        Raises:
            DfqError: images of another shape than the file takes.
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
            return self._session.run(None, {self._input: images})[0][:count]
        except Exception as error:
            raise DfqError(f"'{self.path}' fails in ONNX Runtime: {_first_line(error)}", exit_code=1) from error

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[0] == 0 or shape[1:] != self.shape[1:]:
            size = "x".join(str(length) for length in self.shape[1:])
            raise DfqError(
                f"images of shape {tuple(shape)} for '{self.path}'",
                f"at least one image of {size}",
                f"pass images of that size, or export the network with another --input-size than {size}",
            )


def _options(threads: int, optimized: Path | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    # Else the threads of one session go on spinning after a run, and slow whatever runs next in the process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return options


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
