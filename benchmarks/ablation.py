"""What each part of RGAL contributes: the same number of images and student steps for every arm, several seeds.

    python benchmarks/ablation.py --data ../shared/data [--bits 2] [--only ARM] [--show] [--threads N]
    python benchmarks/ablation.py --net digits

Each arm (`ablation_arms.py`) is `rgal-zeroq` with one thing changed, or stands on `gdfq`'s generator. A finished cell
is never run again. `jury` is agreement with the teacher on held-out *synthetic* images that belong to no arm: weights
are chosen by it. `real` is agreement on 10,000 real images (1257 digits), opened to report.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from ablation_arms import ARMS, described
from cells import read_rows, run_cells
from nets import DIGITS, NETS, Data
from rich import box
from rich.console import Console
from rich.table import Table

from dfq.evaluation.diversity import measure_diversity
from dfq.images.batch import Batch
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import held_out_count
from dfq.results.report import hardware, versions
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher
from dfq.training.trainer import Trainer

SCHEME = "paper-qat"
JURY_SEEDS = (101, 102)


@dataclass(frozen=True)
class Work:
    """What every cell of a network gets; `jury`: images of each of its two kinds."""

    images: int
    steps: int
    jury: int


SMALL, LARGE = (
    Work(images=512, steps=300, jury=256),
    Work(images=256, steps=150, jury=64),
)  # LARGE: 224×224


@dataclass(frozen=True)
class Cell:
    """One student; `method` is all that the arm varies."""

    arm: str
    net: str
    bits: int
    seed: int
    method: str

    def name(self) -> str:
        return f"{self.arm} seed {self.seed}"


class Ablation:
    """Teacher, first images and jury, each made once; one student per cell."""

    def __init__(self, data: Path | None, net: str):
        shared = Data(data)
        self.teacher: Teacher = shared.teacher(net)
        self.real = shared.real(net, self.teacher)
        self.work = work_of(net)
        self.fields = {"flip": net != DIGITS, "scheme": SCHEME}
        self._first: dict[int, Batch] = {}
        self._jury: Batch | None = None

    def first_images(self, seed: int) -> Batch:
        """The half of the images that is made before there is a student: the same for every arm."""
        if seed not in self._first:
            settings = Settings(method="zeroq-kd", seed=seed, **self.fields)
            self._first[seed] = settings.make_synthesizer(self.teacher, None, None).sample(self.work.images // 2)
        return self._first[seed]

    def jury(self) -> Batch:
        """Images by two parametrizations and two other seeds: no arm's own."""
        if self._jury is None:
            made = [
                Settings(method=name, seed=seed, **self.fields)
                .make_synthesizer(self.teacher, None, None)
                .sample(self.work.jury)
                for name, seed in zip(("zeroq-kd", "rgal"), JURY_SEEDS, strict=True)
            ]
            self._jury = made[0].joined(made[1])
        return self._jury

    def run(self, cell: Cell) -> dict:
        """The cell's figures."""
        method, bits, seed, start = ARMS[cell.arm], cell.bits, cell.seed, time.monotonic()
        settings = Settings(
            bits=bits, seed=seed, method=method, steps=self.work.steps, images=self.work.images, **self.fields
        )
        student = make_student(self.teacher, settings.make_scheme())
        synthesizer = replace(settings, seed=seed + 1000).make_synthesizer(self.teacher, None, None)
        grows = method.first_share < 1
        first = self.first_images(seed) if grows else synthesizer.sample(self.work.images // 2)
        training, held_out = first.split(held_out_count(self.work.images))
        calibrate(student, training.images[:256], ranges=settings.chosen_ranges, seed=seed)
        source = method.source(
            self.teacher, training, synthesizer, self.work.images - len(held_out), paired=method.paired
        )
        training_settings = settings.training(self.teacher.input_spec)
        trainer = Trainer(self.teacher, student, method.objective, training_settings)
        history = trainer.fit(source, held_out)
        return {
            "real": self.agreement(student, self.real), "jury": self.agreement(student, self.jury()),
            "held_out": history.records[-1]["held_out"],
            "diversity": self.diversity(source.images_at_the_end()),
            "seconds": time.monotonic() - start,
            "versions": versions(), "hardware": hardware(self.teacher.device),
        }  # fmt: skip

    def diversity(self, images: Batch) -> dict[str, float]:
        """How near the images that were made against the student lie to each other, in the teacher's features."""
        grown = images.pick(torch.arange(max(len(images) - self.work.images // 2, 0), len(images)))
        measured = measure_diversity(self.teacher, grown).to_dict()
        return {key: measured[key] for key in ("same_class_distance", "different_class_distance", "entropy")}

    @torch.no_grad()
    def agreement(self, student: torch.nn.Module, images: Batch) -> float:
        """Top-1 agreement with the teacher, in [0, 1]."""
        same = [int((student(b).argmax(1) == self.teacher(b).argmax(1)).sum()) for b in images.images.split(500)]
        return sum(same) / len(images)


def work_of(net: str) -> Work:
    return LARGE if net in NETS and NETS[net].test.startswith("imagenet") else SMALL


def table(rows: list[dict], net: str, bits: int) -> Table:
    work = work_of(net)
    title = f"{net} W{bits}A{bits} {SCHEME}: {work.images} images, {work.steps} steps; agreement with the teacher in %"
    view = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("arm", "seeds", "real images", "synthetic jury", "s"):
        view.add_column(column, justify="left" if column == "arm" else "right")
    for name in ARMS:
        key = (name, net, bits, described(ARMS[name]))
        group = [row for row in rows if (row["arm"], row["net"], row["bits"], row["method"]) == key]
        if group:
            figures = [spread([100 * row[key] for row in group]) for key in ("real", "jury")]
            view.add_row(name, str(len(group)), *figures, f"{np.mean([row['seconds'] for row in group]):.0f}")
    return view


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/ablation.json"))
@click.option("--net", type=click.Choice([DIGITS, *NETS]), default="resnet20", show_default=True)
@click.option("--bits", default=2, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", multiple=True, help="run the arm of this name; may be given more than once")
@click.option("--show", is_flag=True, help="print the table of finished cells and stop")
@click.option("--threads", default=2, show_default=True)
def main(data, out: Path, net: str, bits: int, seeds: int, only: tuple[str, ...], show: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    console = Console()
    if not show:
        ablation = Ablation(data, net)
        cells = [Cell(name, net, bits, s, described(ARMS[name])) for s in range(seeds) for name in only or ARMS]
        for row in run_cells(cells, out, "", ablation.run):
            console.print(f"{row['arm']}, seed {row['seed']}: {row['seconds']:.0f} s")
    console.print(table(read_rows(out), net, bits))


if __name__ == "__main__":
    main()
