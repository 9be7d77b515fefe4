"""Does the file in floating point compute what the network computes?"""

from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfq.export.engines.onnxruntime_engine import Engine
from dfq.system.compute_dtype import exact_float32
from dfq.teacher import Teacher, evaluating

BATCH_SIZE = 64


@exact_float32()
@torch.no_grad()
def compare_float_file(path: str | Path, teacher: Teacher, images: Tensor, *, threads: int = 2) -> dict:
    """Runs a file of `export_float_onnx` beside the network as it was given, before anything was captured or folded.

    Args:
        images: normalised, (N, C, H, W).

    Returns:
        {"relative_error", "images"}: the largest difference of a logit ÷ the largest logit of the network (None: not
        finite), and N. The order in which kernels add explains less than 1e-4.

    Raises:
        DfqError: as `Engine`.
    """
    engine, network = Engine(path, threads), teacher.original
    difference = largest = 0.0
    with evaluating(network):
        for batch in images.split(BATCH_SIZE):
            expected = network(batch.to(teacher.device)).float().numpy(force=True)
            difference = np.maximum(difference, np.abs(engine.run(batch) - expected).max())
            largest = np.maximum(largest, np.abs(expected).max())
    error = float(difference / max(largest, np.finfo(np.float32).tiny))
    return {"relative_error": error if isfinite(error) else None, "images": len(images)}
