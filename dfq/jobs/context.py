"""`JobContext`: what every stage of one job works with, in one object instead of a train of arguments."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dfq.results.run_folder import RunFolder
from dfq.system.budget import Budget
from dfq.system.progress import Progress, Silent
from dfq.system.stage_clock import Clock
from dfq.teacher import Teacher

SettingsClass = TypeVar("SettingsClass")
Folder = TypeVar("Folder", bound=RunFolder)


@dataclass(frozen=True)
class JobContext(Generic[SettingsClass, Folder]):
    """A job that is running; `dataclasses.replace` gives a stage another part of the budget or other settings.

    Attributes:
        teacher: the network that the job was given.
        settings: what the caller chose.
        folder: where files go.
        budget: the time that is left for this stage and all later ones.
        progress: where stages report.
        clock: how long each stage took.
    """

    teacher: Teacher
    settings: SettingsClass
    folder: Folder
    budget: Budget = field(default_factory=Budget)
    progress: Progress = field(default_factory=Silent)
    clock: Clock = field(default_factory=Clock)
