"""What one ONNX file costs in ONNX Runtime, in a process of its own: run by `dfq.export.validation.performance`.

    python performance_worker.py FILE BATCH SECONDS THREADS [THREADS …]

Prints one JSON object: {"peak_memory_bytes", "latency_ms": {threads: median}, "operators_ms": {operator: per run}}. It
imports nothing of dfq, so that the memory is that of the runtime and the network: its resident size at the peak less
that after the imports. The times of operators are those of the last number of threads, as the runtime's profiler sees
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

MIN_RUNS = 3
KERNEL = "_kernel_time"


def main() -> None:
    path, batch, seconds, *threads = sys.argv[1:]
    before = memory("VmRSS")
    latency = {}
    for count in threads:
        session, images = open_session(path, int(batch), int(count))
        latency[count] = median_latency(session, images, float(seconds))
    after = memory("VmHWM")
    found = {"peak_memory_bytes": None if before is None or after is None else after - before, "latency_ms": latency}
    print(json.dumps({**found, "operators_ms": profile(path, int(batch), int(threads[-1]))}))


def memory(which: str) -> int | None:
    """Resident size of this process in bytes, VmRSS now or VmHWM at its peak; None where the system is not Linux.

    Not `getrusage`: its peak begins with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{which}:")), None)


def open_session(path: str, batch: int, threads: int, trace: str = "") -> tuple:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if trace:
        options.enable_profiling, options.profile_file_prefix = True, trace
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    images = np.random.default_rng(0).standard_normal((batch, *source.shape[1:]), np.float32)
    session.run(None, {source.name: images})
    return session, {source.name: images}


def median_latency(session: onnxruntime.InferenceSession, images: dict, seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < MIN_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, images)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def profile(path: str, batch: int, threads: int, runs: int = 5) -> dict[str, float]:
    """Milliseconds per run by operator, the slowest first."""
    with tempfile.TemporaryDirectory() as folder:
        session, images = open_session(path, batch, threads, str(Path(folder) / "profile"))
        for _ in range(runs):
            session.run(None, images)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            spent[event["args"]["op_name"]] += event["dur"]
    return {operator: micro / 1000 / (runs + 1) for operator, micro in spent.most_common()}  # one run to warm up


if __name__ == "__main__":
    main()
