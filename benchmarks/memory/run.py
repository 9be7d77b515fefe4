"""Measures memory and disk of whole commands: of large networks, and of a comparison with many runs.

    python -m benchmarks.memory.run [--only "resnet50"] [--show]

Each command is a process of its own. Its peak memory is what the operating system says at its end, the resident set of
the process, or of the largest one that it started. Until then, its memory and its folder are measured four times a
second. Memory that grows over the runs of a comparison is a leak. Memory hardly depends on weights, so they are random.
A finished row of results/memory.json is never measured again.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

import click
from rich.console import Console
from rich.table import Table
from torch import device

from benchmarks.common.cells import read_rows, run_cells
from benchmarks.common.options import only_option, out_option, show_option, threads_option
from benchmarks.memory.commands import COMMANDS, WORK, Command, checkpoint
from dfq.results.report import hardware, versions

LOOK_SECONDS = 0.25
MIB = 2**20
PAGE = os.sysconf("SC_PAGE_SIZE")


@click.command()
@out_option("memory.json")
@only_option
@show_option
@threads_option
def main(out: Path, only: str, show: bool, threads: int) -> None:
    """Measures memory and disk of whole commands."""
    for row in () if show else run_cells(COMMANDS, out, only, lambda command: measure(command, threads)):
        click.echo(f"{row['job']} {row['arch']}: {row['peak_mib']} MiB")
    console = Console()
    for view in tables(read_rows(out)):
        console.print(view)


def measure(command: Command, threads: int) -> dict:
    """Returns what a command took, in MiB, and the memory at the end of each run of a comparison."""
    folder = WORK / "run"
    shutil.rmtree(folder, ignore_errors=True)
    words = [sys.executable, "-m", "dfq", command.job, str(checkpoint(command.arch)), *command.options.split()]
    words += ["--out", str(folder), "--threads", str(threads)]
    start, disk, ended = time.monotonic(), 0, 0
    after_runs: list[float] = []
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.returncode is None:
            time.sleep(LOOK_SECONDS)
            disk = max(disk, size(folder))
            reports = len(list(folder.rglob("report.json")))
            after_runs += [resident(process.pid)] * (reports - ended)
            ended = reports
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
    found = {
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - start, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "peak_disk_mib": round(disk / MIB, 1),
        "disk_mib": round(size(folder) / MIB, 1),
        "checkpoint_mib": round(checkpoint(command.arch).stat().st_size / MIB, 1),
        "after_runs_mib": [round(each / MIB) for each in after_runs],
        "versions": versions(),
        "hardware": hardware(device("cpu")),
        "threads": threads,
    }
    shutil.rmtree(folder, ignore_errors=True)
    return found


def size(folder: Path) -> int:
    """Returns the bytes of all files below a folder; files that vanish meanwhile count nothing."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return found


def resident(process: int) -> int:
    """Returns the bytes that a process holds in memory; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def tables(rows: list[dict]) -> list[Table]:
    """Returns the table of all commands, and that of the memory behind the runs of comparisons, as means of thirds."""
    view = Table("command", "peak memory", "checkpoint", "peak disk", "disk at the end", "exit")
    growth = Table("command", "runs", "second third", "last third", "growth of a run")
    for row in rows:
        name = Command(row["job"], row["arch"], row["options"]).name()
        sizes = (row["peak_mib"], row["checkpoint_mib"], row["peak_disk_mib"], row["disk_mib"])
        view.add_row(name, *(f"{each:,.0f} MiB" for each in sizes), str(row["exit_code"]))
        after = row["after_runs_mib"]
        if row["job"] == "compare" and (third := len(after) // 3):
            before, last = mean(after[third : 2 * third]), mean(after[2 * third :])
            figures = (f"{before:,.0f} MiB", f"{last:,.0f} MiB", f"{(last - before) / third:.1f} MiB")
            growth.add_row(name, str(len(after)), *figures)
    return [view, growth]


if __name__ == "__main__":
    main()
