"""`LearningState`: the state from which a killed increment goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dfq.errors import DfqError
from dfq.system.reading import reading
from dfq.system.state_file import StateFile, part_of

WAY_OUT = "leave out --resume to start afresh"


class LearningState:
    """Two files beside the checkpoint that is to be written, which exist only until the checkpoint does.

    One is written before anything is made, so that the other one, that of images which are being made, is never taken
    for that of a run under other conditions.

    Args:
        path: Path of the first file; None: nothing is kept.
        conditions: What a run that goes on must have in common with the killed one, as plain values.

    Attributes:
        images: Path of the second file (`Stage.checkpoint`); None: nothing is kept.
    """

    def __init__(self, path: Path | None = None, conditions: dict | None = None):
        self.file, self.conditions = StateFile(path), conditions or {}
        self.images = path and images_file(path)

    def read(self, device: torch.device) -> dict[str, Any]:
        """Returns the parts that the killed run had saved; an empty dictionary where there is nothing.

        Raises:
            DfqError: The file is damaged, or it belongs to a run under other conditions.
        """
        state = self.file.load(device, way_out=WAY_OUT)
        if state is None or self.file.path is None:
            return {}
        with reading(self.file.path, way_out=WAY_OUT):
            before = state.pop("conditions")
            changed = [name for name in self.conditions if before.get(name) != self.conditions[name]]
        if changed:
            raise DfqError(
                f"'{self.file.path}' belongs to a run with other {', '.join(changed)}",
                "the same network, images and settings to go on with",
                "repeat the first command's options with --resume, or leave it out to start afresh",
            )
        return state

    def save(self, parts: dict[str, Any]) -> None:
        """Replaces the file by these parts, which are tensors, numbers, and dictionaries of them."""
        self.file.save({"conditions": self.conditions, **parts})

    def save_if_due(self, parts: Callable[[], dict[str, Any]]) -> None:
        """Saves what `parts` returns, unless that was done a short while ago."""
        self.file.save_if_due(lambda: {"conditions": self.conditions, **parts()})


def images_file(path: Path) -> Path:
    """Returns the path of the file of images that are being made, beside that of the rest."""
    return part_of(path, "images")
