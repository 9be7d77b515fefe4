"""`StateFile`: what a stage keeps while it works, from which a killed run goes on."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfq.system.atomic_files import replacing
from dfq.system.exchange import of_first
from dfq.system.processes import is_first
from dfq.system.reading import reading
from dfq.system.settings import StateFileSettings
from dfq.system.torch_file import check_torch_file

STATE_FILE_SETTINGS = StateFileSettings()
AFRESH = "start afresh with --overwrite"


class StateFile:
    """A file of tensors and plain values that is rewritten from time to time, each time whole or not at all.

    Where several processes share a run, the first one writes and reads the file, and `load` gives all of them what it
    has read.

    Args:
        path: The file; None: nothing is kept.
        clock: Returns the time in seconds.
    """

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.monotonic):
        self.path, self._clock = path, clock
        self._saved, self._took = clock(), 0.0

    def is_due(self) -> bool:
        """Returns whether it is time to save again; large states are saved less often (`StateFileSettings`)."""
        settings = STATE_FILE_SETTINGS
        pause = max(settings.every_seconds, self._took / settings.most_share)
        return self.path is not None and is_first() and self._clock() - self._saved >= pause

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves what `state` returns, which is asked for only where it is time to save again."""
        if self.is_due():
            self.save(state())

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the file by this state: tensors, numbers, texts, and lists, tuples and dictionaries of them."""
        if self.path is None or not is_first():
            return
        start = self._clock()
        with replacing(self.path) as temporary:
            torch.save(state, temporary)
        self._saved = self._clock()
        self._took = self._saved - start

    def load(self, device: torch.device, *, way_out: str = AFRESH) -> dict[str, Any] | None:
        """Returns what a killed run saved, with its tensors on `device`; None where there is nothing.

        Raises:
            DfqError: The file is damaged, or holds values that are no numbers.
        """
        return None if self.path is None else of_first(lambda: self._read(device, way_out), device)

    def _read(self, device: torch.device, way_out: str) -> dict[str, Any] | None:
        if self.path is None or not self.path.exists():
            return None
        with reading(self.path, way_out=way_out):
            check_torch_file(self.path)
            state = torch.load(self.path, weights_only=True, map_location=device)
            if not isinstance(state, dict):
                raise ValueError(f"it holds a {type(state).__name__} instead of a dictionary")
            _check_numbers(state, "")
        return state


def part_of(path: Path, name: str) -> Path:
    """Returns the path of a second state file beside a first one, for a part of the same stage."""
    return path.with_stem(f"{path.stem}_{name}")


def _check_numbers(value: Any, name: str) -> None:
    """Raises `ValueError` where a tensor within `value` holds NaN."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and bool(value.isnan().any()):
            raise ValueError(f"'{name.removeprefix('.')}' holds values that are no numbers (NaN)")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            _check_numbers(each, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            _check_numbers(each, f"{name}.{index}")
