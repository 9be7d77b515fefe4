"""Accuracy of every method on real checkpoints, cell by cell; a finished cell is never run again.

    python benchmarks/accuracy.py --data ../shared/data [--profile 5m] [--only TEXT] [--show] [--device cuda]

A profile fixes the number of images and of student steps, equal for all methods, so that results do not depend on what
else the machine does; `5m` and `15m` are what fits into that time on two idle cores. Real images are opened to report,
but for the methods named real-…: the ceiling, the same quantizer and schedule on real training images.
"""

import json
import signal
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from shutil import copyfile, rmtree

import click
import torch
from accuracy_table import table, write_into
from nets import Data
from rich.console import Console

from dfq.calibration import METHODS
from dfq.pipeline import quantize_model
from dfq.report import hardware, versions
from dfq.run_folder import write_json
from dfq.settings import Settings

WORK = Path("benchmarks/work")  # run folders of unfinished cells; not under version control
README = Path("README.md")
SAMPLES = Path("benchmarks/results")  # contact sheets of one cell per method
REAL = {  # images and objective of the arms that see real images
    "real-1024": (1024, METHODS["zeroq-kd"]),
    "real-1024-rgal": (1024, replace(METHODS["zeroq-kd"], objective=METHODS["rgal"].objective,
                                     training=METHODS["rgal"].training, paired=True)),
    "real-1024-reconstruct": (1024, METHODS["reconstruct"]),
    "real-10000": (10_000, METHODS["zeroq-kd"]),
}  # fmt: skip
NAIVE = replace(METHODS["instant"], ranges="minmax", post_training=())  # nearest rounding, ranges of the same images


@dataclass(frozen=True)
class Profile:
    """Equal work for all methods; `settings` are fields of `dfq.settings.Settings`."""

    cells: tuple[tuple[str, str, int, str], ...]  # (net, scheme, bits, method)
    seeds: int
    settings: dict = field(default_factory=dict)
    own: dict = field(default_factory=dict)  # method → further settings
    core_seconds: float | None = None  # a time budget, shared by the threads


FORMS = (("deploy", 4), ("deploy", 3), ("paper-qat", 4), ("paper-qat", 3), ("paper-qat", 2))
COMPARED = (
    "rgal-zeroq", "zeroq-kd", "gdfq", "rgal", "rgal-gdfq", "real-1024", "real-1024-rgal", "gdfq-published", "zeroq",
    "qimera",
)  # fmt: skip
PROFILES: dict[str, Profile] = {
    "default": Profile(
        (
            *(("resnet20", *form, "zeroq-kd") for form in (("paper-qat", 3), ("deploy", 4), ("deploy", 8))),
            *(("resnet20", "paper-qat", bits, "zeroq-kd") for bits in (4,)),
            *(("resnet20", "paper-qat", bits, "real-10000") for bits in (3, 4)),
        ),
        seeds=1,
    ),
    "5m": Profile(
        tuple(("resnet20", "paper-qat", bits, method) for bits in (2, 3, 4) for method in COMPARED),
        seeds=3,
        settings={"images": 1024, "steps": 600},
        own={"zeroq": {"images": 64}},  # as published: it only calibrates
    ),
    "5m-resnet56": Profile(
        tuple(("resnet56", "paper-qat", bits, method) for bits in (3, 2) for method in ("rgal-zeroq", "zeroq-kd")),
        seeds=1,
        settings={"images": 512, "steps": 300},
    ),
    "15m": Profile(
        tuple(("resnet20", "paper-qat", 3, method) for method in ("rgal-zeroq", "rgal", "gdfq", "zeroq-kd")),
        seeds=3,
        settings={"images": 3072, "steps": 1800},
    ),
    "instant": Profile(
        tuple(
            (net, "deploy", bits, method)
            for net in ("resnet20", "resnet56", "mobilenet_v2", "mobilenet_v1_0.25")
            for bits in (8, 6, 4)
            for method in ("instant", "naive")
        ),
        seeds=1,
    ),
    "auto": Profile(
        (
            *(("resnet20", *form, "auto") for form in FORMS),
            *(("resnet20", *form, "real-1024-reconstruct") for form in FORMS[1:]),
        ),
        seeds=3,
    ),
    "auto-60s": Profile((("resnet20", "deploy", 4, "auto"),), seeds=3, settings={"budget": 60.0}),
    "auto-resnet56": Profile(tuple(("resnet56", *form, "auto") for form in FORMS), seeds=1),
    "auto-mobilenet": Profile(
        (
            *(("mobilenet_v2", "deploy", bits, "auto") for bits in (4, 6, 8)),
            *(("mobilenet_v1_0.25", "deploy", bits, "auto") for bits in (8, 6)),
        ),
        seeds=1,
        core_seconds=3600.0,
    ),
    "gpu": Profile(  # the published budgets
        tuple(
            ("resnet20", "paper-qat", bits, method) for method in ("gdfq-published", "gdfq", "rgal") for bits in (4, 3)
        ),
        seeds=1,
        settings={"steps": 80_000},
        own={"rgal": {"images": 51_200}},
    ),
}


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    profile: str
    net: str
    scheme: str
    bits: int
    seed: int
    method: str

    def name(self) -> str:
        return f"{self.profile} {self.net} W{self.bits}A{self.bits} {self.scheme} seed {self.seed} {self.method}"


def cells_of(name: str) -> list[Cell]:
    """Cells of a profile, all of the first seed first."""
    profile = PROFILES[name]
    return [
        Cell(name, net, scheme, bits, seed, method)
        for seed in range(profile.seeds)
        for net, scheme, bits, method in profile.cells
    ]


class Bench(Data):
    """How a cell is run on the shared data folder."""

    def run(self, cell: Cell) -> dict:
        """The cell's row; goes on with its run folder where an earlier piece left one."""
        teacher, profile = self.teacher(cell.net), PROFILES[cell.profile]
        count, method = REAL.get(cell.method, (0, NAIVE if cell.method == "naive" else None))
        fields = {"bits": cell.bits, "scheme": cell.scheme, "seed": cell.seed, "method": method or cell.method}
        if profile.core_seconds:
            fields["budget"] = profile.core_seconds / torch.get_num_threads()
        settings = Settings(**fields | profile.settings | profile.own.get(cell.method, {}))
        folder = WORK / cell.name().replace(" ", "-")
        start = time.process_time()
        result = quantize_model(
            teacher, folder, settings, arch=self.arch(cell.net), labelled=self.labelled(cell.net, teacher),
            batch=self.real(cell.net, teacher, count) if count else None, resume=folder.exists(),
        )  # fmt: skip
        kept = ("accuracy", "agreement", "evidence", "diversity", "size_bytes", "settings", "training", "seconds")
        row = {**asdict(cell), **{key: result.report[key] for key in kept},
               "cpu_seconds": time.process_time() - start,  # of all threads: other work on the machine adds little
               "train_agreement": self.agreement(cell.net, teacher, result.student),
               "versions": versions(), "hardware": hardware(teacher.device)}  # fmt: skip
        if cell.profile == "5m" and cell.bits == 3 and cell.seed == 0 and not count:  # real images are not ours to show
            copyfile(folder / "samples.png", SAMPLES / f"samples-{cell.method}.png")
        rmtree(folder)
        return row


def interrupt(*_) -> None:
    raise KeyboardInterrupt


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/accuracy.json"))
@click.option("--profile", type=click.Choice(list(PROFILES)), default="5m", show_default=True)
@click.option("--only", default="", help="run the cells whose name contains all of these words")
@click.option("--show", is_flag=True, help="print the tables of finished cells and stop")
@click.option("--readme", is_flag=True, help="write the table of profile 5m, ResNet-20, into README.md and stop")
@click.option("--threads", default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--minutes", type=float, help="stop after that time; the next call goes on where this one stopped")
def main(data, out: Path, profile, only: str, show: bool, readme: bool, threads: int, device: str, minutes):
    torch.set_num_threads(threads)
    console, bench = Console(), Bench(data, device)
    if minutes:
        signal.signal(signal.SIGALRM, interrupt)
        signal.alarm(int(minutes * 60))
    if readme:
        rows = [row for row in read_rows(out) if (row["profile"], row["net"]) == ("5m", "resnet20")]
        README.write_text(write_into(README.read_text(), rows))
    for cell in () if show or readme else cells_of(profile):
        if cell in finished(out) or not all(word in cell.name().split() for word in only.split()):
            continue
        row = bench.run(cell)
        write_json(out, [*read_rows(out), row])  # read again: another process may have added cells
        console.print(f"{cell.name()}: {row['accuracy']}, {row['seconds']['total']:.0f} s")
    for name in PROFILES:
        rows = [row for row in read_rows(out) if row["profile"] == name]
        if rows:
            console.print(table(name, rows))


def read_rows(out: Path) -> list[dict]:
    return json.loads(out.read_text()) if out.exists() else []


def finished(out: Path) -> set[Cell]:
    return {Cell(**{key: row[key] for key in Cell.__dataclass_fields__}) for row in read_rows(out)}


if __name__ == "__main__":
    main()
