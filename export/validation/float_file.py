"""Compares the file in floating point with the network that it was written from."""

from math import isfinite
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.engines.settings import EngineSettings
from dfq.graph.outputs import as_tuple, named_outputs
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
        {"relative_error", "images"}: the largest difference of a value ÷ the largest value of its output in the network
        (None: it is not finite), of the output that is furthest off, and N. Whole numbers do not count. The order in
        which kernels add explains less than 1e-4.

    Raises:
        DfqError: ONNX Runtime does not load or run the file.
    """
    engine, network = Engine(path, settings.threads), teacher.original
    places = [place for place, output in enumerate(teacher.outputs) if not output.is_whole]
    difference, largest = np.zeros(len(places)), np.full(len(places), np.finfo(np.float32).tiny)
    with evaluating(network):
        for batch in images.split(settings.batch_size):
            given = named_outputs(network(batch.to(teacher.device)), len(batch), "the network")
            expected, found = list(given.tensors.values()), as_tuple(engine.run(batch))
            for index, place in enumerate(places):
                right = expected[place].float().numpy(force=True)
                difference[index] = np.maximum(difference[index], np.abs(found[place] - right).max())
                largest[index] = np.maximum(largest[index], np.abs(right).max())
    error = float((difference / largest).max())
    return {"relative_error": error if isfinite(error) else None, "images": len(images)}
