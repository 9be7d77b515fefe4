"""Images of an arm are made once and kept, because several formats are measured on the same ones."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import write_json


def kept_images(path: Path, spec: InputSpec, make: Callable[[], Batch]) -> tuple[Batch, float]:
    """Returns the images of a folder, which are made where it is missing, and the processor seconds that they took."""
    folder, cost = RunFolder(path), path / "cost.json"
    if not cost.exists():
        path.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        batch = make()
        folder.save_images(batch, spec)
        write_json(cost, {"cpu_seconds": time.process_time() - start})
    batch = folder.load_images(spec, torch.device("cpu"))
    pixels = batch.images.contiguous(memory_format=torch.channels_last)
    return Batch(pixels, batch.labels), json.loads(cost.read_text())["cpu_seconds"]
