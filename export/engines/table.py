"""The engines that run an exported file: one row per engine, which also says why the engine may be absent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
from torch import Tensor

from dfq.errors import DfqError
from dfq.export.engines.kernel_report import count_nodes
from dfq.export.engines.onnxruntime_engine import CPU, Engine
from dfq.export.engines.openvino_engine import OpenVinoEngine
from dfq.export.engines.reference_engine import ReferenceEngine, too_large
from dfq.export.engines.runner import Runner
from dfq.export.engines.settings import ReferenceSettings

CUDA = ("CUDAExecutionProvider", *CPU)
TENSORRT = ("TensorrtExecutionProvider", *CUDA)
MAIN = "onnxruntime-cpu"  # every file is proved in this engine


def _here(path: Path) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class EngineRow:
    """One engine.

    Attributes:
        name: Name of the engine on the command line and in reports.
        open: Opens a file with a number of threads and returns the runner.
        missing: Returns why this engine cannot run a file here; None if it can.
        float_nodes: Returns the nodes that a runner computes in floating point; None where the engine does not tell.
        is_timed: Whether its latency says something about the file.
        most_images: Number of images of each kind that it is compared on; None: all.
    """

    name: str
    open: Callable[[Path, int], Runner]
    missing: Callable[[Path], str | None] = _here
    float_nodes: Callable[[Any], list[dict] | None] = lambda runner: None
    is_timed: bool = True
    most_images: int | None = None


def _no_provider(provider: str, way_out: str) -> Callable[[Path], str | None]:
    def missing(path: Path) -> str | None:
        has = provider in onnxruntime.get_available_providers()
        return None if has else f"the installed onnxruntime has no {provider} ({way_out})"

    return missing


def _no_openvino(path: Path) -> str | None:
    return None if find_spec("openvino") else 'OpenVINO is not installed (pip install "dfq-toolkit[openvino]")'


ENGINES: dict[str, EngineRow] = {
    row.name: row
    for row in (
        EngineRow(
            name=MAIN,
            open=Engine,
            float_nodes=lambda runner: count_nodes(runner.path)["float"],
        ),
        EngineRow(
            name="onnxruntime-cuda",
            open=lambda path, threads: Engine(path, threads, providers=CUDA),
            missing=_no_provider(CUDA[0], "pip install onnxruntime-gpu, on a machine with a CUDA device"),
        ),
        EngineRow(
            name="tensorrt",
            open=lambda path, threads: Engine(path, threads, providers=TENSORRT),
            missing=_no_provider(TENSORRT[0], "pip install onnxruntime-gpu tensorrt, on a machine with a CUDA device"),
        ),
        EngineRow(
            name="openvino",
            open=OpenVinoEngine,
            missing=_no_openvino,
            float_nodes=OpenVinoEngine.float_nodes,
        ),
        EngineRow(
            name="onnx-reference",
            open=lambda path, threads: ReferenceEngine(path),
            missing=too_large,
            is_timed=False,
            most_images=ReferenceSettings().max_images,
        ),
    )
}


@dataclass(frozen=True)
class Opened:
    """A file in several engines.

    Attributes:
        runners: The engines that run the file, by name.
        skipped: The reason why another engine does not, by its name.
    """

    runners: Mapping[str, Runner]
    skipped: Mapping[str, str] = field(default_factory=dict)


def open_engines(path: str | Path, names: Sequence[str], images: Tensor, threads: int) -> Opened:
    """Opens the file in the engines of these names; each runs one of `images` (N, C, H, W) to show that it can.

    Raises:
        DfqError: A name is not in `ENGINES`, or ONNX Runtime does not load the file on the CPU.
    """
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise DfqError(f"engine {unknown[0]!r}", f"one of {', '.join(ENGINES)}", "leave it out to ask all engines")
    runners: dict[str, Runner] = {MAIN: ENGINES[MAIN].open(Path(path), threads)}
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(names):
        reason = ENGINES[name].missing(Path(path))
        if reason is None and name != MAIN:
            try:
                runners[name] = ENGINES[name].open(Path(path), threads)
                runners[name].run(images[:1])
            except DfqError as error:
                runners.pop(name, None)
                reason = error.found
        if reason is not None:
            skipped[name] = reason
    return Opened(runners, skipped)
