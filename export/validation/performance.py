"""`measure_performance` measures latency, throughput, memory and time per operator of a file and of its float twin."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from dfq.errors import DfqError
from dfq.export.validation.settings import PerformanceSettings
from dfq.system.progress import Progress, Silent

MAX_REASON = 300  # A message quotes at most this many characters of the runtime's reason.


def measure_performance(
    files: Mapping[str, str | Path],
    settings: PerformanceSettings = PerformanceSettings(),
    progress: Progress | None = None,
) -> dict:
    """Runs every file alone, in a process of its own, on random images.

    Args:
        files: ONNX files by label, such as {"float_onnx": …, "onnx": …}.
        settings: What is measured, and for how long.
        progress: Where the measurement is reported.

    Returns:
        {label: {"runs": [{"batch", "threads", "latency_ms", "images_per_second"}],
                 "peak_memory_bytes": {batch: bytes}, "operators_ms": {operator: per run}}}
        Latencies are medians. Memory is what ONNX Runtime adds to an empty process at its peak. Times of operators are
        those at the first batch, on the last number of threads; their sum exceeds the latency by what the profiler
        itself costs.

    Raises:
        DfqError: A file is missing, or ONNX Runtime does not run it.
    """
    found: dict[str, dict] = {}
    with (progress or Silent()).task("Measuring performance", len(files) * len(settings.batches)) as task:
        for label, path in files.items():
            row: dict = {"runs": [], "peak_memory_bytes": {}, "operators_ms": {}}
            for batch in _batches_of(Path(path), settings.batches):
                probed = _probe(Path(path), batch, settings)
                row["peak_memory_bytes"][str(batch)] = probed["peak_memory_bytes"]
                row["operators_ms"] = row["operators_ms"] or probed["operators_ms"]
                row["runs"] += [_run(batch, int(count), latency) for count, latency in probed["latency_ms"].items()]
                task.advance()
            found[label] = row
    return found


def _run(batch: int, threads: int, latency: float) -> dict:
    return {"batch": batch, "threads": threads, "latency_ms": latency, "images_per_second": 1000 * batch / latency}


def _batches_of(path: Path, wanted: Sequence[int]) -> Sequence[int]:
    try:
        length = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[0]
    except Exception as error:  # protobuf has its own classes, none of them public
        raise DfqError(f"'{path}' cannot be read as ONNX", "a file of `dfq quantize` or `dfq export`") from error
    return (length.dim_value,) if length.dim_value else wanted


def _probe(path: Path, batch: int, settings: PerformanceSettings) -> dict:
    program = Path(__file__).with_name("performance_worker.py")
    arguments = (path, batch, settings.seconds, settings.min_runs, settings.profiled_runs, *settings.threads)
    command = [sys.executable, str(program), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise DfqError(f"'{path}' does not run at batch {batch}: {reason[:MAX_REASON]}", exit_code=1)
    return json.loads(ended.stdout)
