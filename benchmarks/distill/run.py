"""Measures data-free distillation by every method, cell by cell; a finished cell is never run again.

    python -m benchmarks.distill.run --data ../shared/data [--profile 10m] [--only TEXT] [--show] [--device cuda]

A profile (`profiles.py`) fixes the steps of the student, the images that each step sees, and the images of methods that
keep a pool; they are equal for all methods, so that results do not depend on what else the machine does. `digits` needs
no --data. Real images are opened to report: once at the end, and every 50 steps for the curve of accuracy over time;
nothing is chosen by them.
"""

import time
from pathlib import Path
from shutil import rmtree

import click
import torch
from rich.console import Console

from benchmarks.common.cells import read_rows, run_cells, stop_after
from benchmarks.common.nets import Data, accuracy_on
from benchmarks.common.options import (
    data_option,
    device_option,
    minutes_option,
    only_option,
    out_option,
    profile_option,
    threads_option,
)
from benchmarks.distill.plot import accuracy_over_time
from benchmarks.distill.profiles import PROFILES, Cell, cells_of
from benchmarks.distill.relations import relations
from benchmarks.distill.table import steadiness, table
from dfq.calibration import METHODS
from dfq.jobs.context import RunOptions
from dfq.jobs.distill import DistillSettings, distill_model
from dfq.jobs.distill.folder import DistillFolder
from dfq.results.report import hardware, versions
from dfq.teacher import Teacher

RELATED = 256  # number of training images whose relations are measured; the first ones are the same for every method
WORK = Path("benchmarks/work")  # run folders of unfinished cells; not under version control


class Bench:
    """Runs cells.

    Args:
        data: The data folder; with None there is only the network `digits`.
        device: The device to compute on.
    """

    def __init__(self, data: Path | None, device: str):
        self.data = Data(data, device)

    def run(self, cell: Cell) -> dict:
        """Returns the figures of a cell; goes on with its run folder where an earlier process left one."""
        profile = PROFILES[cell.profile]
        teacher = self.data.teacher(profile.teacher)
        labelled = self.data.labelled(profile.teacher, teacher)
        method = profile.rows.get(cell.method) or METHODS[cell.method]
        folder, start = WORK / f"distill-{cell.name()}".replace(" ", "-"), time.process_time()
        resumed = folder.exists()
        result = distill_model(
            teacher,
            profile.student,
            folder,
            DistillSettings(method=method, seed=cell.seed, **profile.settings),
            accuracy=accuracy_on(labelled, teacher),
            options=RunOptions(labelled=labelled, resume=resumed),
        )
        report = result.report
        kept = (
            "start", "accuracy", "agreement", "diversity", "parameters", "stages", "settings", "seconds",
        )  # fmt: skip
        images = DistillFolder(folder).load_images(teacher.input_spec, teacher.device)
        student = Teacher(result.student, teacher.input_spec, teacher.device)
        curve = [(record["step"], record["accuracy"]) for record in report["training"]["records"]]
        row = {key: report[key] for key in kept} | {
            "training": {key: value for key, value in report["training"].items() if key != "records"},
            "relations": relations(teacher, student, images.pick(torch.arange(min(RELATED, len(images))))),
            "curve": curve, "steadiness": steadiness(curve), "cpu_seconds": time.process_time() - start,
            "resumed": resumed,  # if so, the seconds are those of the last piece alone
            "versions": versions(), "hardware": hardware(teacher.device),
        }  # fmt: skip
        rmtree(folder)
        return row


@click.command()
@data_option(required=False)
@out_option("distill.json")
@profile_option(PROFILES, default="10m")
@only_option
@click.option("--show", is_flag=True, help="Print the tables of finished cells, draw the curves and stop.")
@threads_option
@device_option
@minutes_option
def main(data, out: Path, profile: str, only: str, show: bool, threads: int, device: str, minutes: float | None):
    """Measures data-free distillation by every method; a finished cell is never run again."""
    torch.set_num_threads(threads)
    console = Console()
    stop_after(minutes)
    if not show:
        bench = Bench(data, device)
        for row in run_cells(cells_of(profile), out, only, bench.run):
            console.print(f"{row['method']} seed {row['seed']}: {row['accuracy']}, {row['seconds']['total']:.0f} s")
    for name in PROFILES:
        rows = [row for row in read_rows(out) if row["profile"] == name]
        if rows:
            console.print(table(name, rows))
            accuracy_over_time(rows, out.with_name(f"{out.stem}-{name}.png"))


if __name__ == "__main__":
    main()
