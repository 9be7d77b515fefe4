"""`measure_performance`: latency, throughput, memory and time per operator of a file and of its float twin."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from dfq.errors import DfqError
from dfq.system.progress import Progress, Silent

BATCHES, THREADS, SECONDS = (1, 32), (1, 2), 0.5


def measure_performance(
    files: Mapping[str, str | Path],
    *,
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] = THREADS,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> dict:
    """Runs every file alone, in a process of its own, on random images.

    Args:
        files: label → ONNX file, such as {"float_onnx": …, "onnx": …}.
        batches: images per run; a file that fixes its own is measured at that.
        seconds: of each measurement, after a warm-up.

    Returns:
        {label: {"runs": [{"batch", "threads", "latency_ms", "images_per_second"}],
                 "peak_memory_bytes": {batch: bytes}, "operators_ms": {operator: per run}}}
        Latencies are medians. Memory is what ONNX Runtime adds to an empty process at its peak. Operators: at the first
        batch, on the most threads; the sum exceeds the latency by what the profiler itself costs.

    Raises:
        DfqError: a file that is missing or that ONNX Runtime does not run.
    """
    found: dict[str, dict] = {}
    with (progress or Silent()).task("Measuring speed and memory", len(files) * len(batches)) as task:
        for label, path in files.items():
            row: dict = {"runs": [], "peak_memory_bytes": {}, "operators_ms": {}}
            for batch in _batches_of(Path(path), batches):
                probed = _probe(Path(path), batch, threads, seconds)
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


def _probe(path: Path, batch: int, threads: Sequence[int], seconds: float) -> dict:
    program = Path(__file__).with_name("performance_worker.py")
    command = [sys.executable, str(program), str(path), str(batch), str(seconds), *map(str, threads)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise DfqError(f"'{path}' does not run at batch {batch}: {reason[:300]}", exit_code=1)
    return json.loads(ended.stdout)
