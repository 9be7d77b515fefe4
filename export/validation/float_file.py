"""Compares the file in floating point with the network that it was written from."""

from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.engines.settings import EngineSettings
from dfq.system.compute_dtype import exact_float32
from dfq.teacher import Teacher, evaluating


@exact_float32()
@torch.no_grad()
def compare_float_file(
    path: str | Path, teacher: Teacher, images: Tensor, *, settings: EngineSettings = EngineSettings()
) -> dict:
    """Runs a file of `export_float_onnx` beside the network as it was given, before anything was captured or folded.

    Args:
        path: The file.
        teacher: The network.
        images: Normalised, (N, C, H, W).
        settings: How the file is run.

    Returns:
        {"relative_error", "images"}: the largest difference of a logit ÷ the largest logit of the network (None: it is
        not finite), and N. The order in which kernels add explains less than 1e-4.

    Raises:
        DfqError: ONNX Runtime does not load or run the file.
    """
    engine, network = Engine(path, settings.threads), teacher.original
    difference = largest = 0.0
    with evaluating(network):
        for batch in images.split(settings.batch_size):
            expected = network(batch.to(teacher.device)).float().numpy(force=True)
            difference = np.maximum(difference, np.abs(engine.run(batch) - expected).max())
            largest = np.maximum(largest, np.abs(expected).max())
    error = float(difference / max(largest, np.finfo(np.float32).tiny))
    return {"relative_error": error if isfinite(error) else None, "images": len(images)}
