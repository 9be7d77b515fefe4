"""The clock of a run over all its lives: a run that goes on counts what it took before it was killed."""

import torch

from dfq.jobs.context import RunOptions
from dfq.results.run_folder import RunFolder
from dfq.system.callbacks import Callback, Following
from dfq.system.progress import Progress
from dfq.system.reading import reading
from dfq.system.stage_clock import Clock
from dfq.system.state_file import AFRESH, StateFile


def goes_on(run: RunFolder, options: RunOptions) -> bool:
    """Returns whether a run continues one that the folder holds."""
    return options.resume and run.config.exists()


def clock_of(run: RunFolder, options: RunOptions) -> Clock:
    """Returns the clock of a run, which has the seconds of its earlier lives where it goes on.

    Raises:
        DfqError: The file that keeps them is damaged.
    """
    before = StateFile(run.clock).load(torch.device("cpu")) if goes_on(run, options) else None
    with reading(run.clock, way_out=AFRESH):
        return Clock(before)


def keeping_clock(progress: Progress, run: RunFolder, clock: Clock) -> Progress:
    """Returns a `Progress` that passes everything on, and keeps the seconds of the clock in the folder meanwhile."""
    return Following(progress, [_Keeper(run, clock)])


class _Keeper(Callback):
    def __init__(self, run: RunFolder, clock: Clock):
        self._file, self._clock = StateFile(run.clock), clock

    def on_figures(self, stage, step, figures):
        self._file.save_if_due(self._clock.to_dict)
