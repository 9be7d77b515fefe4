"""Runs one file in one engine, in a process of its own, and measures it when asked; it knows nothing of dfq.

    python -m benchmarks.latency.worker {onnxruntime|openvino} FILE THREADS

Each line on standard input asks for a measurement of so many seconds, at batch 1. The answer is a line with the
milliseconds of a fast run, the lower quartile, because what disturbs a run only ever makes it slower. The engines keep
their default options but for the threads; OpenVINO computes in float32, as the files say, where it would choose
bfloat16 by itself.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

MIN_RUNS = 3


def open_onnxruntime(path: str, threads: int) -> tuple[Callable, list]:
    """Returns what runs the file in ONNX Runtime, and the shape of its input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    source = session.get_inputs()[0]
    return lambda images: session.run(None, {source.name: images}), source.shape


def open_openvino(path: str, threads: int) -> tuple[Callable, list]:
    """Returns what runs the file in OpenVINO, and the shape of its input."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    return compiled.create_infer_request().infer, list(compiled.input(0).get_partial_shape())


OPENERS = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


def measure(run: Callable, images: np.ndarray, seconds: float) -> float:
    """Returns the lower quartile of the milliseconds of the runs within that time."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < MIN_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        run(images)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.percentile(times, 25))


def main() -> None:
    engine, path, threads = sys.argv[1:]
    run, shape = OPENERS[engine](path, int(threads))
    size = [int(str(length)) for length in shape[1:]]
    images = np.random.default_rng(0).standard_normal((1, *size)).astype(np.float32)
    measure(run, images, 0.1)
    print("ready", flush=True)
    for line in sys.stdin:
        print(measure(run, images, float(line)), flush=True)


if __name__ == "__main__":
    main()
