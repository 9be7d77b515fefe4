"""Data-free distillation by every method, cell by cell; a finished cell is never run again.

    python benchmarks/distill.py --data ../shared/data [--profile 10m] [--only TEXT] [--show] [--device cuda]

A profile fixes the steps of the student, the images that each step sees, and the images of methods that keep a pool:
equal for all methods, so that results do not depend on what else the machine does. `digits` needs no --data. Real
images are opened to report: once at the end, and every 50 steps for the curve of accuracy over time; nothing is chosen
by them.
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shutil import rmtree

import click
import torch
from cells import read_rows, run_cells, stop_after
from distill_picture import accuracy_over_time
from distill_table import steadiness, table
from nets import DIGITS, Data, accuracy_on
from rich.console import Console

from dfq.calibration import METHODS, Method
from dfq.calibration.generators.rdskd import RDSKD, RDSKDConfig
from dfq.jobs.distill import DistillSettings, distill_model
from dfq.results.report import hardware, versions

WORK = Path("benchmarks/work")  # run folders of unfinished cells; not under version control
ALL = ("rgal", "zeroq-kd", "gdfq", "adadfkd", "rdskd", "retain")
SHORT_RDSKD = replace(  # the published 2400 steps of its generator are four times as much as all others' synthesis
    METHODS["rdskd"], synthesizer=partial(RDSKD, RDSKDConfig(warm_up=600))
)


@dataclass(frozen=True)
class Profile:
    """Equal work for all methods; `settings` are fields of `dfq.jobs.distill.DistillSettings`."""

    teacher: str
    student: str
    seeds: int
    settings: dict
    methods: tuple[str, ...] = ALL
    rows: dict[str, Method] = field(default_factory=dict)  # in place of those of `METHODS`


PROFILES: dict[str, Profile] = {
    "digits": Profile(
        DIGITS, "benchmarks/digits_student.py:digits_student", 3, {"images": 1024, "steps": 4000, "flip": False}
    ),
    "digits-more": Profile(
        DIGITS,
        "benchmarks/digits_student.py:digits_student",
        3,
        {"images": 1024, "steps": 4000, "flip": False},
        methods=("qimera", "dafl", "cmi-inversion"),
    ),
    "10m": Profile("resnet56", "dfq/resnet20", 2, {"images": 512, "steps": 1000}, rows={"rdskd": SHORT_RDSKD}),
    "10m-random": Profile(
        "resnet56",
        "dfq/resnet20",
        2,
        {"images": 512, "steps": 1000, "start": "random"},
        rows={"rdskd": SHORT_RDSKD},
    ),
    "long": Profile("resnet56", "dfq/resnet20", 1, {"images": 1024, "steps": 3000}),
    "gpu": Profile(
        "resnet56", "dfq/resnet20", 1, {"images": 51_200, "steps": 80_000, "start": "random"}
    ),  # as published
    "smoke": Profile(
        DIGITS,
        "benchmarks/digits_student.py:digits_student",
        1,
        {"images": 16, "steps": 4, "flip": False, "budget": 10.0},
    ),
}


@dataclass(frozen=True)
class Cell:
    """One run."""

    profile: str
    method: str
    seed: int

    def name(self) -> str:
        return f"{self.profile} {self.method} seed {self.seed}"


def cells_of(name: str) -> list[Cell]:
    """Cells of a profile, all of the first seed first."""
    profile = PROFILES[name]
    return [Cell(name, method, seed) for seed in range(profile.seeds) for method in profile.methods]


class Bench:
    """How a cell is run.

    Args:
        data: the shared folder; None: for digits alone.
    """

    def __init__(self, data: Path | None, device: str):
        self.data = Data(data, device)

    def run(self, cell: Cell) -> dict:
        """The cell's figures; goes on with its run folder where an earlier piece left one."""
        profile = PROFILES[cell.profile]
        teacher = self.data.teacher(profile.teacher)
        labelled = self.data.labelled(profile.teacher, teacher)
        method = profile.rows.get(cell.method, METHODS[cell.method])
        folder, start = WORK / f"distill-{cell.name()}".replace(" ", "-"), time.process_time()
        resumed = folder.exists()
        report = distill_model(
            teacher, profile.student, folder, DistillSettings(method=method, seed=cell.seed, **profile.settings),
            labelled=labelled, resume=resumed, accuracy=accuracy_on(labelled, teacher),
        ).report  # fmt: skip
        kept = (
            "start", "accuracy", "agreement", "diversity", "parameters", "stages", "settings", "training", "seconds",
        )  # fmt: skip
        curve = [(record["step"], record["accuracy"]) for record in report["training"]["records"]]
        row = {key: report[key] for key in kept} | {
            "curve": curve, "steadiness": steadiness(curve), "cpu_seconds": time.process_time() - start,
            "resumed": resumed,  # then the seconds are those of the last piece alone
            "versions": versions(), "hardware": hardware(teacher.device),
        }  # fmt: skip
        rmtree(folder)
        return row


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/distill.json"))
@click.option("--profile", type=click.Choice(list(PROFILES)), default="10m", show_default=True)
@click.option("--only", default="", help="run the cells whose name contains all of these words")
@click.option("--show", is_flag=True, help="print the tables of finished cells, draw the curves and stop")
@click.option("--threads", default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--minutes", type=float, help="stop after that time; the next call goes on where this one stopped")
def main(data, out: Path, profile: str, only: str, show: bool, threads: int, device: str, minutes: float | None):
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
