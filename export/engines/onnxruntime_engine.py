"""`Engine`: an ONNX file in ONNX Runtime, on the CPU unless the caller asks for other providers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from dfq.errors import DfqError
from dfq.export.engines.runner import Runner, first_line
from dfq.export.engines.settings import EngineSettings
from dfq.models.onnx_file.session import SILENT, STRICTLY

CPU = ("CPUExecutionProvider",)
# x86 processors without VNNI add pairs of products in 16 bits, and those of 8-bit weights may overflow. With this
# session option the runtime takes slower, exact kernels there.
EXACT_SUMS = ("session.x64quantprecision", "1")
CPU_FLAGS = Path("/proc/cpuinfo")


class Engine(Runner):
    """A session of ONNX Runtime.

    Args:
        path: The ONNX file.
        threads: Number of threads.
        optimized: Where the graph is written that the session really runs (see `dfq.export.engines.kernel_report`);
            None: nowhere.
        providers: ONNX Runtime's execution providers, the wanted one first.

    Raises:
        DfqError: The file is missing or is no ONNX model that the runtime loads, or the first provider does not start.
    """

    engine = "ONNX Runtime"

    def __init__(
        self,
        path: str | Path,
        threads: int = EngineSettings().threads,
        optimized: Path | None = None,
        providers: Sequence[str] = CPU,
    ):
        if not Path(path).is_file():
            raise DfqError(f"no file '{path}'", "an ONNX file", "write one with `dfq quantize` or `dfq export`")
        if sums_overflow() and optimized is None and tuple(providers) == CPU:
            self._session = _open_exactly(Path(path), threads)
        else:
            self._session = _open(Path(path), _options(threads, optimized), providers)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
            raise DfqError(f"'{path}' reads {shapes}", "one input (N, C, H, W)")
        super().__init__(path, tuple(inputs[0].shape))
        self._input = inputs[0].name

    def compute(self, images: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {self._input: images})


def sums_overflow() -> bool:
    """Returns whether this is an x86 processor without VNNI; False where that is not known."""
    flags = CPU_FLAGS.read_text(encoding="utf-8") if CPU_FLAGS.is_file() else ""
    return "avx2" in flags and "vnni" not in flags


def processor_warnings() -> list[str]:
    """Returns what a program that runs our files on this processor has to know."""
    if not sums_overflow():
        return []
    name, value = EXACT_SUMS
    return [
        "this processor has no VNNI: by default, ONNX Runtime's sums of 8-bit products may overflow on it. The file "
        f'was compared with exact sums; your program gets them with the session option {name} = "{value}"'
    ]


def _open_exactly(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Opens a file with exact sums; where the runtime then fails, it runs the operators as the file spells them out.

    That rounds as the file says, but in floating point, which is exact as well, and slower.
    """
    options = _options(threads, None)
    try:
        options.add_session_config_entry(*EXACT_SUMS)
        session = onnxruntime.InferenceSession(str(path), options, providers=list(CPU), **STRICTLY)
        source = session.get_inputs()[0]
        shape = [length if isinstance(length, int) else 1 for length in source.shape]
        session.run(None, {source.name: np.zeros(shape, np.float32)})
    except Exception:  # with layers that it does not fuse, the runtime fails when it loads the file or in the first run
        options = _options(threads, None)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _open(path, options, CPU)
    return session


def _open(path: Path, options: onnxruntime.SessionOptions, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers), **STRICTLY)
    except Exception as error:  # the runtime has one class per reason, none of them public
        raise DfqError(
            f"'{path}' is not an ONNX model that ONNX Runtime loads: {first_line(error)}",
            "a whole ONNX file",
            "write it again with `dfq export`",
        ) from error
    if session.get_providers()[0] != providers[0]:  # the runtime falls back to the next one with a mere warning
        raise DfqError(f"{providers[0]} does not start on this machine", "its libraries and its device", exit_code=1)
    return session


def _options(threads: int, optimized: Path | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = SILENT
    # Without this entry, the threads of a session go on spinning after a run and slow whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return options
