"""The file from which a killed run goes on: its first images, and the state of what made them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.images.stored import check_stored
from dfq.system.reading import reading
from dfq.system.state_file import AFRESH, StateFile


@dataclass(frozen=True)
class Start:
    """What a run starts with.

    Attributes:
        batch: The images that were made before training.
        synthesizer: State of the synthesizer after it made them, from which it makes the next ones.
        notes: Its notes for the report.
    """

    batch: Batch
    synthesizer: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def save_start(path: Path, start: Start, input_spec: InputSpec) -> None:
    """Writes the file; pixels have 8 bits, as those of a synthesizer have."""
    images, labels = start.batch.images.cpu(), start.batch.labels
    state = {
        "images": (input_spec.to_pixels(images) * 255).round().to(torch.uint8),
        "labels": None if labels is None else labels.cpu(),
        "synthesizer": start.synthesizer,
        "notes": start.notes,
    }
    StateFile(path).save(state)


def load_start(path: Path, input_spec: InputSpec, device: torch.device) -> Start | None:
    """Reads the file; the images are bit for bit those that were made. None: there is no such file.

    Raises:
        DfqError: The file is damaged.
    """
    state = StateFile(path).load(device)
    if state is None:
        return None
    with reading(path, way_out=AFRESH):
        check_stored(state["images"], state["labels"], input_spec)
        images = input_spec.normalize(state["images"].float() / 255).contiguous(memory_format=torch.channels_last)
        return Start(Batch(images, state["labels"]), state["synthesizer"], state["notes"])
