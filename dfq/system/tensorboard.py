"""`TensorBoard` writes the losses and results of a job for TensorBoard, which is an extra of dfq."""

import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dfq.errors import DfqError
from dfq.system.callbacks import Callback, results_of


class TensorBoard(Callback):
    """Writes event files: the losses of each stage by step, the results of the report, and settings and notes as text.

    Args:
        folder: The folder in which each job gets a folder of its own, named by the time of its first figure.

    Raises:
        DfqError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DfqError(
                f"TensorBoard cannot be imported: {error}",
                "the extra tensorboard",
                'pip install "dfq-toolkit[tensorboard]"',
                exit_code=1,
            ) from error
        self._folder, self._make, self._notes = Path(folder), SummaryWriter, 0
        self._settings: Mapping = {}

    @cached_property
    def _writer(self) -> Any:
        writer = self._make(str(self._folder / time.strftime("%Y%m%d-%H%M%S")))
        writer.add_text("settings", f"```json\n{json.dumps(dict(self._settings), indent=2)}\n```")
        return writer

    def part(self, name: str) -> "TensorBoard":
        """Returns a writer of a folder of that name, so that the curves of all parts lie in one diagram."""
        return TensorBoard(self._folder / name)

    def on_start(self, settings: Mapping) -> None:
        self._settings = settings

    def on_figures(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def on_end(self, report: Mapping | None) -> None:
        for name, value in results_of(report or {}).items():
            self._writer.add_scalar(f"results/{name}", value, 0)
        for index, warning in enumerate((report or {}).get("warnings", ())):
            self._writer.add_text("warnings", warning, index)
        self._writer.close()
        del self._writer
