"""Measures what one ONNX file costs in ONNX Runtime; `dfq.export.validation.performance` runs it as its own process.

    python performance_worker.py FILE BATCH SECONDS MIN_RUNS PROFILED_RUNS THREADS [THREADS …]

It prints one JSON object: {"peak_memory_bytes", "latency_ms": {threads: median}, "operators_ms": {operator: per run}}.
It imports nothing of dfq, so that the memory is that of the runtime and the network: its resident size at the peak less
that after the imports. The times of operators are those on the last number of threads, as the runtime's profiler sees
them.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime

SILENT = 4  # ONNX Runtime's log level: its exceptions say what is wrong
STRICTLY = {"enable_fallback": 0}  # Else the runtime writes to standard output where a file fails.
KERNEL = "_kernel_time"  # names of the profiler's events that time a kernel end with this


def main() -> None:
    path, batch, seconds, min_runs, profiled_runs, *threads = sys.argv[1:]
    before = memory("VmRSS")
    latency = {}
    for count in threads:
        session, images = open_session(path, int(batch), int(count))
        latency[count] = median_latency(session, images, float(seconds), int(min_runs))
    after = memory("VmHWM")
    found = {"peak_memory_bytes": None if before is None or after is None else after - before, "latency_ms": latency}
    print(json.dumps({**found, "operators_ms": profile(path, int(batch), int(threads[-1]), int(profiled_runs))}))


def memory(which: str) -> int | None:
    """Returns the resident size of this process in bytes; None where the system is not Linux.

    "VmRSS" is the size now, and "VmHWM" that at the peak. The peak of `getrusage` would not do, because it begins with
    that of the process that started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{which}:")), None)


def open_session(path: str, batch: int, threads: int, trace: str = "") -> tuple:
    """Returns a session that has run once, and the random images by name of the input.

    Args:
        path: The ONNX file.
        batch: Number of images.
        threads: Number of threads.
        trace: Prefix of the file that the profiler writes; empty: nothing is profiled.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, SILENT
    if trace:
        options.enable_profiling, options.profile_file_prefix = True, trace
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], **STRICTLY)
    source = session.get_inputs()[0]
    images = np.random.default_rng(0).standard_normal((batch, *source.shape[1:]), np.float32)
    session.run(None, {source.name: images})
    return session, {source.name: images}


def median_latency(session: onnxruntime.InferenceSession, images: dict, seconds: float, min_runs: int) -> float:
    """Returns the median time of one run in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < min_runs or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, images)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def profile(path: str, batch: int, threads: int, runs: int) -> dict[str, float]:
    """Returns the milliseconds of one run by operator, the slowest first."""
    with tempfile.TemporaryDirectory() as folder:
        session, images = open_session(path, batch, threads, str(Path(folder) / "profile"))
        for _ in range(runs):
            session.run(None, images)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            spent[event["args"]["op_name"]] += event["dur"]
    # `open_session` has run once to warm up, and the profiler saw that run, too.
    return {operator: micro / 1000 / (runs + 1) for operator, micro in spent.most_common()}


if __name__ == "__main__":
    main()
