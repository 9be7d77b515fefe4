"""`RunOptions` and `JobContext`: how a job runs, and what all its stages work with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from dfq.images.batch import Batch
from dfq.images.labelled import Labelled
from dfq.jobs.settings import JobSettings
from dfq.results.run_folder import RunFolder
from dfq.system.budget import Budget
from dfq.system.callbacks import Callback
from dfq.system.progress import Progress, Silent
from dfq.system.stage import Stage
from dfq.system.stage_clock import Clock
from dfq.teacher import Teacher

SettingsClass = TypeVar("SettingsClass", bound=JobSettings)
Folder = TypeVar("Folder", bound=RunFolder)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a job runs, as opposed to what it makes, which the settings say.

    Attributes:
        labelled: Real images with labels, which are used only after everything is decided, to report accuracy.
        pictures: Real images without labels, normalised, (N, C, H, W), which are used only after everything is decided,
            to report how far the outputs are off on them.
        batch: Images that were made before, such as those of another run (`RunFolder.load_images`). None: the method
            makes them.
        strict: Whether a network of which too little is on integers is refused before any work
            (`dfq.results.verdict.check_strict`).
        resume: Whether a killed run of the same settings is continued.
        overwrite: Whether the results of an earlier run may be replaced.
        progress: Where the job reports what it does.
        is_late: Whether the job is the last part of another one, which cannot stop here: a budget that is too short is
            exceeded then, and not refused.
        callbacks: Who is told of the job's start, its losses, its notes and its end.
    """

    labelled: Labelled | None = None
    pictures: Tensor | None = None
    batch: Batch | None = None
    strict: bool = False
    resume: bool = False
    overwrite: bool = False
    progress: Progress = field(default_factory=Silent)
    is_late: bool = False
    callbacks: Sequence[Callback] = ()

    @property
    def given(self) -> int:
        """Number of images that the user gave for the report."""
        labelled = 0 if self.labelled is None else len(self.labelled.labels)
        return labelled + (0 if self.pictures is None else len(self.pictures))


@dataclass(frozen=True)
class JobContext(Generic[SettingsClass, Folder]):
    """A job that is running; `dataclasses.replace` makes a context with a part of the budget, or with other settings.

    Attributes:
        teacher: The network that the job was given.
        settings: The settings of the job.
        folder: The folder that the job writes.
        budget: The time that is left for this stage and all later ones but the end (`dfq.jobs.finishing`).
        progress: Where stages report what they do.
        clock: The clock that measures each stage.
    """

    teacher: Teacher
    settings: SettingsClass
    folder: Folder
    budget: Budget = field(default_factory=Budget)
    progress: Progress = field(default_factory=Silent)
    clock: Clock = field(default_factory=Clock)

    def stage(self, budget: Budget | None = None, checkpoint: Path | None = None) -> Stage:
        """Returns what a stage of this job works within.

        Args:
            budget: The time of the stage; None: all that is left.
            checkpoint: The file in which the stage keeps what a killed run goes on from; None: it keeps nothing.
        """
        return Stage(
            budget=budget or self.budget, progress=self.progress, seed=self.settings.seed, checkpoint=checkpoint
        )
