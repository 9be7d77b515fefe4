"""`Callback`: what a user's own code, or a tracker of experiments, is told while a job runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from dfq.system.processes import is_first
from dfq.system.progress import Progress, Silent, Task

RESULTS = ("accuracy", "agreement", "error_steps", "size_bytes", "latency_ms", "seconds")  # the figures of a report


class Callback:
    """Is told what a job does; a subclass overrides the methods that it needs.

    Methods are called in the job's own thread. What they raise ends the job.
    """

    def on_start(self, settings: Mapping) -> None:
        """Is called once, before the work begins, with the settings of the job and the architecture as `arch`."""

    def on_figures(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        """Is called with the newest losses of a stage.

        Args:
            stage: What is done, such as "Training the student".
            step: Number of steps of the stage that are done.
            figures: The newest value of each figure, such as a loss in nats, by its name.
        """

    def on_note(self, message: str) -> None:
        """Is called with a line on something that was assumed, chosen or skipped."""

    def on_end(self, report: Mapping | None) -> None:
        """Is called once, with the content of the job's report; with None if the job failed or was interrupted."""

    def part(self, name: str) -> "Callback":
        """Returns who is told of a part of the job that has a start, an end and a report of its own.

        The parts of `dfq compare` are its runs. Unless this is overridden, losses and notes of a part come to this
        callback, with the name of the part in front.

        Args:
            name: Name of the part, such as "zeroq-w4a4-seed0".
        """
        return _Part(self, name)


class _Part(Callback):
    """Passes losses and notes on, and says which part of the job they are of."""

    def __init__(self, whole: Callback, name: str):
        self._whole, self._name = whole, name

    def on_figures(self, stage, step, figures):
        self._whole.on_figures(f"{self._name}/{stage}", step, figures)

    def on_note(self, message):
        self._whole.on_note(f"{self._name}: {message}")


class Following:
    """A `Progress` that passes everything on to another one, and to callbacks.

    Attributes:
        report: The content of the job's report, which the job sets when it has finished.
    """

    def __init__(self, progress: Progress, callbacks: Sequence[Callback]):
        self.progress, self.callbacks = progress, callbacks
        self.report: Mapping | None = None

    @contextmanager
    def task(self, description: str, total: int, seconds: float | None = None) -> Iterator[Task]:
        with self.progress.task(description, total, seconds) as task:
            yield _FollowedTask(task, description, self.callbacks)

    def note(self, message: str) -> None:
        self.progress.note(message)
        for callback in self.callbacks:
            callback.on_note(message)


class _FollowedTask:
    def __init__(self, task: Task, stage: str, callbacks: Sequence[Callback]):
        self._task, self._stage, self._callbacks, self._step = task, stage, callbacks, 0

    def advance(self, steps: int = 1, **figures: float) -> None:
        self._task.advance(steps, **figures)
        self._step += steps
        if figures:
            for callback in self._callbacks:
                callback.on_figures(self._stage, self._step, figures)

    def name(self, part: str) -> None:
        self._task.name(part)


@contextmanager
def following(progress: Progress, callbacks: Sequence[Callback], settings: Mapping) -> Iterator[Following]:
    """Tells callbacks that a job starts, what it does, and how it ends.

    Where several processes share a run, the first one reports and tells, and the others are silent.

    Args:
        progress: Where the job would report without callbacks.
        callbacks: Who is told.
        settings: The settings of the job.
    """
    if not is_first():
        progress, callbacks = Silent(), ()
    followed = Following(progress, callbacks)
    for callback in callbacks:
        callback.on_start(settings)
    try:
        yield followed
    except BaseException:
        for callback in callbacks:
            callback.on_end(None)
        raise
    for callback in callbacks:
        callback.on_end(followed.report)


def results_of(report: Mapping) -> dict[str, float]:
    """Returns the figures of a report by name, such as "accuracy/onnx" in [0, 1]; what was not measured is left out."""
    return dict(_flattened({name: report[name] for name in RESULTS if name in report}, ""))


def _flattened(values: Mapping, before: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{before}{name}/")
        elif isinstance(value, int | float):
            yield f"{before}{name}", float(value)
