"""`Stage`: what one stage of a job works within."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

from dfq.system.budget import Budget
from dfq.system.exchange import number_of_first
from dfq.system.progress import Progress, Silent, Task


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Time, report, chance and memory of one stage; the default has no limit, is silent and keeps nothing.

    Attributes:
        budget: The time that is left for this stage.
        progress: Where the stage reports what it does.
        seed: Seed of every random draw of the stage.
        checkpoint: A file that the stage rewrites while it works, and reads at its start where it exists, so that a
            killed run goes on from there; None: the stage keeps nothing.
    """

    budget: Budget = field(default_factory=Budget)
    progress: Progress = field(default_factory=Silent)
    seed: int = 0
    checkpoint: Path | None = None

    def part(self, fraction: float) -> "Stage":
        """Returns the same stage with that fraction of the remaining time, on a clock that starts now."""
        return replace(self, budget=self.budget.part(fraction))

    def done(self, step: int, steps: int) -> float:
        """Returns `Budget.done` of a stage that processes do together: all of them go by the clock of the first one."""
        done = self.budget.done(step, steps)
        return done if self.budget.seconds is None else number_of_first(done)

    def task(self, description: str, total: int) -> AbstractContextManager[Task]:
        """Opens a task of the stage's progress, which knows how much time the stage has left."""
        left = self.budget.remaining()
        return self.progress.task(description, total, left if isfinite(left) else None)
