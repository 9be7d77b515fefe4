"""Compares latencies fairly: several engines run in turns in one process, so that a busy machine slows all alike."""

import time
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from dfq.export.engines.runner import Runner
from dfq.export.validation.settings import LatencySettings


def median_latencies(
    engines: Mapping[str, Runner], images: Tensor | np.ndarray, settings: LatencySettings = LatencySettings()
) -> dict[str, float]:
    """Returns the median time of one run of `images` (N, C, H, W) by engine, in milliseconds."""
    array = np.asarray(images.cpu() if isinstance(images, Tensor) else images, np.float32)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(settings.warm_ups):
        for engine in engines.values():
            engine.run(array)
    deadline = time.perf_counter() + settings.seconds
    for _ in range(settings.rounds):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.run(array)
            times[name].append(1000 * (time.perf_counter() - start))
        if time.perf_counter() > deadline:
            break
    return {name: float(np.median(values)) for name, values in times.items()}
