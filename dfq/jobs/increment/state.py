"""`LearningState`: the state from which a killed increment goes on."""

import time
from pathlib import Path

import torch

from dfq.errors import DfqError
from dfq.jobs.increment.settings import INCREMENT_DEFAULTS
from dfq.system.atomic_files import replacing
from dfq.system.reading import reading
from dfq.system.torch_file import check_torch_file


class LearningState:
    """A file beside the checkpoint that is to be written, which exists only until the checkpoint does.

    Args:
        path: Path of the file; None: nothing is kept.
        conditions: What a run that goes on must have in common with the killed one, as plain values.
    """

    def __init__(self, path: Path | None = None, conditions: dict | None = None):
        self.path, self.conditions, self.saved = path, conditions or {}, time.monotonic()

    def read(self, device: torch.device) -> dict:
        """Returns what the killed run had saved; an empty dictionary where there is nothing.

        Raises:
            DfqError: The file is damaged, or it belongs to a run under other conditions.
        """
        if self.path is None or not self.path.exists():
            return {}
        with reading(self.path, way_out="leave out --resume to start afresh"):
            check_torch_file(self.path)
            state = torch.load(self.path, weights_only=True, map_location=device)
            before = state["conditions"]
            changed = [name for name in self.conditions if before.get(name) != self.conditions[name]]
        if changed:
            raise DfqError(
                f"'{self.path}' belongs to a run with other {', '.join(changed)}",
                "the same network, images and settings to go on with",
                "repeat the first command's options with --resume, or leave it out to start afresh",
            )
        return state

    def is_due(self) -> bool:
        """Returns whether it is time to save again."""
        return self.path is not None and time.monotonic() - self.saved >= INCREMENT_DEFAULTS.save_every_seconds

    def save(self, **parts) -> None:
        """Replaces the file by these parts, which are tensors, numbers, and dictionaries of them."""
        if self.path is not None:
            with replacing(self.path) as temporary:
                torch.save({"conditions": self.conditions, **parts}, temporary)
            self.saved = time.monotonic()
