"""Kills jobs at random times, goes on with them, and compares their ends with those of jobs that were left alone.

    python -m benchmarks.kills.run --minutes 15

Each job runs twice: once without a disturbance, and once in lives that a SIGKILL ends after a random time, at most a
third of what the first one took, up to a number of kills. Both must end in the same networks, bit for bit (one thread),
and in the same files. A finished row of results/kills.json is never measured again.
"""

import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.common.cells import read_rows, run_cells, stop_after
from benchmarks.common.options import minutes_option, only_option, out_option, show_option
from benchmarks.kills.jobs import Killed, all_jobs, arguments, ends, files, prepare
from dfq.cli import main as dfq
from dfq.results.report import hardware, versions
from dfq.system import state_file
from dfq.system.settings import StateFileSettings

SAVED_EVERY = 0.3  # seconds; jobs of this size would end before the usual 20
KILLS = 5  # of one job, after which it is left alone
# The server imports once for all jobs what each of them needs, and starts no thread that a fork would break.
IMPORTED = ("benchmarks.kills.jobs", "dfq.cli.quantize", "dfq.cli.distill", "dfq.cli.increment", "dfq.cli.compare",
            "dfq.jobs.quantize.run", "torch._dynamo", "torch.export", "torch.onnx", "onnxruntime")  # fmt: skip
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(list(IMPORTED))
CHANGING = (".png",)  # Pictures may hold the seconds that a run took.


@click.command()
@out_option("kills.json")
@click.option("--seeds", default=1, show_default=True, help="Kill each job at so many sets of random times.")
@only_option
@show_option
@minutes_option
def main(out: Path, seeds: int, only: str, show: bool, minutes: float | None) -> None:
    """Kills every method and job at random times."""
    stop_after(minutes)
    with contextlib.suppress(KeyboardInterrupt):
        for row in () if show else run_cells(all_jobs(seeds), out, only, measure):
            said = "same end" if row["same_end"] else "ANOTHER END"
            click.echo(f"{row['job']:10} {row['method']:16} {row['kills']} kills, {said} {row['left_behind']}")
    Console().print(table(read_rows(out)))
    sys.exit(int(any(not row["same_end"] or row["left_behind"] for row in read_rows(out))))


def measure(cell: Killed) -> dict:
    """Returns how often a job was killed, whether it ended as it should, and what it left behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given, whole, killed = (folder / part for part in ("given", "whole", "killed"))
        prepare(given)
        start = time.monotonic()
        assert _live(cell, given, whole, None), "a job that was left alone failed"
        seconds = time.monotonic() - start
        chance, lives, kills = random.Random(cell.name()), 1, 0
        while not _live(cell, given, killed, chance.uniform(0, seconds / 3) if kills < KILLS else None):
            lives, kills = lives + 1, kills + 1
        left = [file for file in files(killed) if not file.endswith(CHANGING)]
        wanted = [file for file in files(whole) if not file.endswith(CHANGING)]
        return {
            "kills": kills,
            "lives": lives,
            "seconds": round(seconds, 1),
            "same_end": ends(cell, whole) == ends(cell, killed) != {},
            "left_behind": sorted(set(left) - set(wanted)),
            "missing": sorted(set(wanted) - set(left)),
            "versions": versions(),
            "hardware": hardware(torch.device("cpu")),
            "threads": 1,
        }


def _live(cell: Killed, given: Path, out: Path, limit: float | None) -> bool:
    """Runs a job in a process of its own; returns False where it was killed.

    Args:
        cell: The job.
        given: The folder of what it starts from.
        out: The folder that it writes to.
        limit: Seconds after which it is killed; None: it is left alone.
    """
    out.mkdir(exist_ok=True)
    process = SERVER.Process(target=_run, args=(arguments(cell, given, out),))
    process.start()
    process.join(limit)
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return False
    assert process.exitcode == 0, f"{cell.name()} failed with exit code {process.exitcode}"
    return True


def _run(words: list[str]) -> None:
    torch.set_num_threads(1)
    state_file.STATE_FILE_SETTINGS = StateFileSettings(every_seconds=SAVED_EVERY)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            dfq(words)
        except SystemExit as end:
            if end.code:
                sys.__stderr__.write(said.getvalue())
            os._exit(int(end.code or 0))


def table(rows: list[dict]) -> Table:
    """Returns the rows by job and method, and their sums."""
    view = Table("job", "method", "kills", "same end", "left behind")
    for row in rows:
        left = ", ".join(row["left_behind"]) or "nothing"
        view.add_row(row["job"], row["method"], str(row["kills"]), "yes" if row["same_end"] else "no", left)
    same = sum(row["same_end"] for row in rows)
    view.add_row("all", "", str(sum(row["kills"] for row in rows)), f"{same} of {len(rows)}", "")
    return view


if __name__ == "__main__":
    main()
