"""Kills a job within its tasks, as a signal would, and tells where it can be killed."""

from collections import Counter
from contextlib import contextmanager

from dfq.system.state_file import StateFile


class Killed(Exception):
    pass


class AlwaysDue(StateFile):
    """Saves at each step, where one stage alone shall do so."""

    def is_due(self):
        return self.path is not None


class Watch:
    """A `Progress` that counts the steps of each task over all lives of a job, and ends a life at some of them.

    Args:
        kills: Descriptions of tasks and numbers of their steps, from 1 on, at which `Killed` is raised, each once.
    """

    def __init__(self, kills=()):
        self.kills, self.steps = set(kills), Counter()

    @contextmanager
    def task(self, description, total, seconds=None):
        yield _Task(self, description)

    def note(self, message):
        pass

    def middles_and_ends(self) -> list[tuple[str, int]]:
        """Returns where to kill: in the middle of each task, and at its last step."""
        return [(task, step) for task, count in self.steps.items() for step in sorted({(count + 1) // 2, count})]


class _Task:
    def __init__(self, watch: Watch, description: str):
        self.watch, self.description = watch, description

    def advance(self, steps=1, **figures):
        if not figures:  # It is what an earlier life has done.
            return
        self.watch.steps[self.description] += 1
        place = (self.description, self.watch.steps[self.description])
        if place in self.watch.kills:
            self.watch.kills.remove(place)
            raise Killed(place)

    def name(self, part):
        pass


def lives(job):
    """Runs `job` until it is not killed any more; returns its result and the number of kills."""
    kills = 0
    while True:
        try:
            return job(), kills
        except Killed:
            kills += 1
