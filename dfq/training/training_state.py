"""What a training run must remember: its best state so far, and enough to go on after it was killed."""

import copy
import time
from collections.abc import Callable
from dataclasses import asdict
from math import inf
from pathlib import Path

import torch
from torch import nn

from dfq.system.reading import reading
from dfq.system.state_file import AFRESH, StateFile
from dfq.training.settings import TrainSettings
from dfq.training.state_checks import check_fits, check_groups, same_type


class TrainingState:
    """Best and resumable state of one training run.

    Args:
        path: File of the resumable state; None: the state is not kept.

    Attributes:
        projections: What the objective learns beside the student; it is empty unless the trainer sets it.
        sums: Sum of each training loss since the last record.
        since: Number of steps since the last record.
        bad_steps: Number of the last steps whose losses were not finite.
    """

    def __init__(self, path: Path | None, student: nn.Module, optimizer, generator: torch.Generator, history, source):
        self.file, self.student, self.optimizer = StateFile(path), student, optimizer
        self.generator, self.history, self.source = generator, history, source
        self.projections = nn.Module()
        self.best_loss, self.best_step, self.best_state = inf, 0, copy.deepcopy(student.state_dict())
        self.started = time.monotonic()
        self.sums: dict[str, float] = {}
        self.since, self.bad_steps = 0, 0

    def keep_if_best(self, loss: float) -> None:
        """Keeps a copy of the student's state if `loss` is the smallest so far."""
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.history.steps
            self.best_state = copy.deepcopy(self.student.state_dict())

    def choose(
        self,
        last_loss: float,
        first_loss: float,
        measure: Callable[[], float] | None = None,
        *,
        settings: TrainSettings = TrainSettings(),
    ) -> int:
        """Keeps the last state if it is about as good as the best and better than the first, else restores the best.

        Args:
            last_loss: Loss of the last state.
            first_loss: Loss before training.
            measure: Returns the student's loss on more images. Where it is given, these must say the same before the
                best state is restored.
            settings: Settings of the training; their `tolerated` says what "about as good" means.

        Returns:
            The chosen step.
        """
        self.student.eval()
        if last_loss <= min(self.best_loss * settings.tolerated, first_loss):
            return self.history.steps
        last_state, last_again = copy.deepcopy(self.student.state_dict()), measure() if measure else inf
        self.student.load_state_dict(self.best_state)
        if measure and last_again <= measure() * settings.tolerated:
            self.student.load_state_dict(last_state)
            return self.history.steps
        return self.best_step

    def save_if_due(self) -> None:
        """Writes the resumable state, unless it was written a short while ago."""
        self.file.save_if_due(self._resumable)

    def _resumable(self) -> dict:
        return {
            "student": self.student.state_dict(),
            "projections": self.projections.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "source": self.source.state_dict(),
            "history": asdict(self.history),
            "best": (self.best_loss, self.best_step, self.best_state),
            "since_record": (self.sums, self.since, self.bad_steps),
            "seconds": time.monotonic() - self.started,
        }

    def resume(self) -> None:
        """Takes over the state of an earlier, killed run, if there is one."""
        state = self.file.load(next(self.student.parameters()).device)
        if state is None or self.file.path is None:
            return
        with reading(self.file.path, way_out=AFRESH):
            self._take_over(state)

    def _take_over(self, state: dict) -> None:
        check_fits(state["student"], self.student.state_dict())
        self.student.load_state_dict(state["student"])
        self.projections.load_state_dict(state["projections"])
        check_groups(state["optimizer"]["param_groups"], self.optimizer.state_dict()["param_groups"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.source.load_state_dict(state["source"])
        for name, value in state["history"].items():
            setattr(self.history, name, same_type(value, getattr(self.history, name)))
        loss, step, self.best_state = state["best"]
        self.best_loss, self.best_step = same_type(loss, 0.0), same_type(step, 0)
        check_fits(self.best_state, self.student.state_dict())
        sums, since, bad_steps = state["since_record"]
        self.sums = {name: same_type(total, 0.0) for name, total in sums.items()}
        self.since, self.bad_steps = same_type(since, 0), same_type(bad_steps, 0)
        self.started = time.monotonic() - same_type(state["seconds"], 0.0)
