"""Measures the accuracy of every method on real checkpoints, cell by cell; a finished cell is never run again.

    python -m benchmarks.accuracy.run --data ../shared/data [--profile 5m] [--only TEXT] [--show] [--device cuda]
    python -m benchmarks.accuracy.run --profile digits

A profile (`profiles.py`) fixes the number of images and of student steps, equal for all methods, so that results do not
depend on what else the machine does; `5m` and `15m` are what fits into that time on two idle cores. Real images are
opened to report alone. The exceptions are the methods named real-…, which measure the ceiling: the same quantizer and
schedule on real training images.
"""

import time
from dataclasses import replace
from pathlib import Path
from shutil import copyfile, rmtree

import click
import torch
from rich.console import Console

from benchmarks.accuracy.profiles import PROFILES, Cell, cells_of
from benchmarks.accuracy.table import table, write_into
from benchmarks.common.cells import read_rows, run_cells, stop_after
from benchmarks.common.nets import Data
from benchmarks.common.options import (
    data_option,
    device_option,
    minutes_option,
    only_option,
    out_option,
    profile_option,
    show_option,
    threads_option,
)
from dfq.calibration import METHODS
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.results.report import hardware, versions

WORK = Path("benchmarks/work")  # run folders of unfinished cells; not under version control
README = Path("README.md")
SAMPLES = Path("benchmarks/results")  # holds the contact sheets of one cell per method
REAL = {  # the number of images, and the method, of the arms that see real images
    "real-1024": (1024, METHODS["zeroq-kd"]),
    "real-1024-rgal": (1024, replace(METHODS["zeroq-kd"], objective=METHODS["rgal"].objective,
                                     training=METHODS["rgal"].training, paired=METHODS["rgal"].paired)),
    "real-1024-reconstruct": (1024, METHODS["reconstruct"]),
    "real-10000": (10_000, METHODS["zeroq-kd"]),
}  # fmt: skip
NAIVE = replace(
    METHODS["instant"], ranges="minmax", post_training=()
)  # rounds to nearest; its ranges are those of the same images


class Bench(Data):
    """Runs cells."""

    def run(self, cell: Cell) -> dict:
        """Returns the figures of a cell; goes on with its run folder where an earlier process left one."""
        teacher, profile = self.teacher(cell.net), PROFILES[cell.profile]
        count, method = REAL.get(cell.method, (0, NAIVE if cell.method == "naive" else None))
        fields = {"bits": cell.bits, "scheme": cell.scheme, "seed": cell.seed, "method": method or cell.method}
        if profile.core_seconds:
            fields["budget"] = profile.core_seconds / torch.get_num_threads()
        settings = Settings(**fields | profile.settings | profile.own.get(cell.method, {}))
        folder = WORK / cell.name().replace(" ", "-")
        start = time.process_time()
        result = quantize_model(
            teacher,
            folder,
            settings,
            options=RunOptions(
                labelled=self.labelled(cell.net, teacher),
                batch=self.real(cell.net, teacher, count) if count else None,
                resume=folder.exists(),
            ),
        )
        kept = ("accuracy", "agreement", "evidence", "diversity", "size_bytes", "settings", "training", "seconds")
        row = {key: result.report[key] for key in kept} | {
            "cpu_seconds": time.process_time() - start,  # of all threads; other work on the machine adds little
            "train_agreement": self.agreement(cell.net, teacher, result.student),
            "versions": versions(), "hardware": hardware(teacher.device),
        }  # fmt: skip
        if cell.profile == "5m" and cell.bits == 3 and cell.seed == 0 and not count:  # real images are not ours to show
            copyfile(folder / "samples.png", SAMPLES / f"samples-{cell.method}.png")
        rmtree(folder)
        return row


@click.command()
@data_option(required=False)
@out_option("accuracy.json")
@profile_option(PROFILES, default="5m")
@only_option
@show_option
@click.option("--readme", is_flag=True, help="Write the main table into README.md and stop.")
@threads_option
@device_option
@minutes_option
def main(data, out: Path, profile, only: str, show: bool, readme: bool, threads: int, device: str, minutes):
    """Measures the accuracy of every method on real checkpoints; a finished cell is never run again."""
    torch.set_num_threads(threads)
    console = Console()
    stop_after(minutes)
    if readme:
        README.write_text(write_into(README.read_text(), read_rows(out)))
    if not (show or readme):
        for row in run_cells(cells_of(profile), out, only, Bench(data, device).run):
            console.print(f"{row['method']} seed {row['seed']}: {row['accuracy']}, {row['seconds']['total']:.0f} s")
    for name in PROFILES:
        rows = [row for row in read_rows(out) if row["profile"] == name]
        if rows:
            console.print(table(name, rows))


if __name__ == "__main__":
    main()
