"""Progress that a person sees: bars on a terminal or in a notebook, and a few plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, TextColumn
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Column
from rich.text import Text

from dfq.errors import printable
from dfq.system.progress import Progress, Silent
from dfq.system.settings import ProgressSettings

stderr = Console(stderr=True, highlight=False)


def clock(seconds: float | None) -> str:
    """Returns a time such as 0:07, 12:30 or 1:02:03; "–:––" where it is unknown."""
    if seconds is None:
        return "–:––"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def figures_text(figures: dict[str, float], max_figures: int) -> str:
    """Returns the newest figures, at most `max_figures`, such as "kd 0.31, held out 0.0021"."""
    shown = list(figures.items())[-max_figures:]
    return ", ".join(f"{name.replace('_', ' ')} {value:.2g}" for name, value in shown)


class _Times(ProgressColumn):
    """The elapsed time and, while a stage runs, the remaining time, which never exceeds what its budget leaves."""

    def render(self, task: Bar) -> Text:
        elapsed = clock(task.finished_time if task.finished else task.elapsed)
        return Text(elapsed if task.finished else f"{elapsed} · {clock(remaining(task))} left", style="cyan")


def remaining(task: Bar) -> float | None:
    """Returns the seconds until a stage ends, by its speed or by its limit, whichever is sooner; None: unknown."""
    seconds, by_speed = task.fields["seconds"], task.time_remaining
    by_limit = None if seconds is None else max(seconds - (task.elapsed or 0.0), 0.0)
    return min((each for each in (by_speed, by_limit) if each is not None), default=None)


def share_done(done: int, total: int, elapsed: float, seconds: float | None) -> float:
    """Returns how far a stage is, in [0, 1]: by its steps or by its limit in seconds, whichever is further.

    By its limit alone, a stage is never finished: it may have a last step to take.
    """
    by_limit = min(elapsed / seconds, 0.99) if seconds else 0.0
    return min(max(done / total, by_limit), 1.0)


class TerminalProgress:
    """The `dfq.system.progress.Progress` of the command line: bars on a terminal, a few plain lines elsewhere."""

    def __init__(self, console: Console = stderr, *, settings: ProgressSettings = ProgressSettings()):
        self.console, self.settings, self._open = console, settings, 0
        self._bars: Bars | None = None

    @contextmanager
    def task(self, description: str, total: int, seconds: float | None = None) -> Iterator["_BarTask | _PlainTask"]:
        if not self.console.is_terminal:
            task = _PlainTask(self.console, description, total, seconds, self.settings)
            yield task
            task.finish()
            return
        bars = self._start()
        bar = bars.add_task(description, total=max(total, 1), figures="", seconds=seconds)
        try:
            yield _BarTask(bars, bar, max(total, 1), seconds, self.settings.max_figures)
        finally:
            if self._open > 1:  # The bar of a stage within another one is hidden, or a long comparison piles up bars.
                bars.update(bar, visible=False)
            self._stop()

    def note(self, message: str) -> None:
        console = self._bars.console if self._bars else self.console
        whole = not console.is_terminal  # A path in a log stays on one line.
        console.print(f"· {printable(message)}", style="dim", markup=False, soft_wrap=whole)

    def _start(self) -> Bars:
        """Opens one live display for nested stages, and a new one for each stage that follows another one."""
        if self._bars is None:
            self._bars = Bars(*_columns(self.settings), console=self.console, expand=True)
            self._bars.start()
        self._open += 1
        return self._bars

    def _stop(self) -> None:
        self._open -= 1
        if self._open == 0 and self._bars is not None:
            self._bars.stop()
            self._bars = None


def _columns(settings: ProgressSettings) -> list[ProgressColumn]:
    """Returns the columns of a bar; the figures have the room that the others leave."""
    description = Column(width=settings.description_width, no_wrap=True, overflow="ellipsis")
    return [
        TextColumn("{task.description}", table_column=description),
        BarColumn(bar_width=settings.bar_width, table_column=Column(width=settings.bar_width)),
        TextColumn("{task.percentage:>3.0f} %", table_column=Column(width=5, no_wrap=True)),
        _Times(Column(no_wrap=True)),
        TextColumn("{task.fields[figures]}", style="dim", markup=False,
                   table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    ]  # fmt: skip


class _BarTask:
    def __init__(self, bars: Bars, identity, total: int, seconds: float | None, max_figures: int):
        self._bars, self._identity, self._max_figures = bars, identity, max_figures
        self._total, self._seconds, self._done, self._start = total, seconds, 0, time.monotonic()

    def advance(self, steps: int = 1, **figures: float) -> None:
        self._done += steps
        if figures:
            self._bars.update(self._identity, figures=figures_text(figures, self._max_figures))
        share = share_done(self._done, self._total, time.monotonic() - self._start, self._seconds)
        self._bars.update(self._identity, completed=share * self._total)

    def name(self, part: str) -> None:
        # In the description, it would leave no room for inner stages.
        self._bars.update(self._identity, figures=printable(part))


class _PlainTask:
    """Prints one line at the end, one for each named part, and one every `ProgressSettings.quiet_seconds` between."""

    def __init__(
        self, console: Console, description: str, total: int, seconds: float | None, settings: ProgressSettings
    ):
        self._console, self._description, self._total, self._settings = console, description, max(total, 1), settings
        self._seconds = seconds
        self._done, self._figures, self._start = 0, "", time.monotonic()
        self._told = self._start

    def advance(self, steps: int = 1, **figures: float) -> None:
        self._done += steps
        self._figures = figures_text(figures, self._settings.max_figures) or self._figures
        if time.monotonic() - self._told > self._settings.quiet_seconds and self._done < self._total:
            share = share_done(self._done, self._total, time.monotonic() - self._start, self._seconds)
            self._tell(f"{share:.0%} after")

    def name(self, part: str) -> None:
        self._console.print(f"{self._description}: {printable(part)}", markup=False, soft_wrap=True)

    def finish(self) -> None:
        self._tell("done in")

    def _tell(self, state: str) -> None:
        self._told = time.monotonic()
        figures = f" ({self._figures})" if self._figures else ""
        line = f"{self._description}: {state} {clock(self._told - self._start)}{figures}"
        self._console.print(line, markup=False, soft_wrap=True)


def chosen_progress(wanted: Progress | bool | None) -> Progress:
    """Returns what a job of the Python API reports to.

    Args:
        wanted: True for bars, False for silence, None for bars where somebody sees them, on a terminal or in a
            notebook; or an object of the caller's own.
    """
    if wanted is None:
        wanted = _is_seen()
    if isinstance(wanted, bool):
        return TerminalProgress(_console()) if wanted else Silent()
    return wanted


def _is_seen() -> bool:
    return sys.stderr.isatty() or _is_notebook()


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _console() -> Console:
    return Console(highlight=False) if _is_notebook() else stderr
