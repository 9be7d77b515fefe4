"""Latency, compared fairly: several engines in one process, run in turns, so that a busy machine slows all alike."""

import time
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from dfq.export.engines.runner import Runner

WARM_UPS = 3


def median_latencies(
    engines: Mapping[str, Runner], images: Tensor | np.ndarray, *, rounds: int = 50, seconds: float = 5.0
) -> dict[str, float]:
    """Median milliseconds per run of `images` (N, C, H, W) by engine: at most `rounds` turns or about `seconds`."""
    array = np.asarray(images.cpu() if isinstance(images, Tensor) else images, np.float32)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(WARM_UPS):
        for engine in engines.values():
            engine.run(array)
    deadline = time.perf_counter() + seconds
    for _ in range(rounds):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(array)
            times[name].append(1000 * (time.perf_counter() - start))
        if time.perf_counter() > deadline:
            break
    return {name: float(np.median(values)) for name, values in times.items()}
