"""Measures what each part of RGAL contributes, with the same images and student steps for every arm, several seeds.

    python -m benchmarks.ablation.run --data ../shared/data [--bits 2] [--only ARM] [--show] [--threads N]
    python -m benchmarks.ablation.run --net digits

Each arm (`arms.py`) is `rgal-zeroq` with one thing changed, or stands on `gdfq`'s generator. Each row
says whether the arm's terms moved what they were to move (`manipulation.py`). A finished cell is never
run again. `jury` is the agreement with the teacher on held-out *synthetic* images that belong to no arm; weights are
chosen by it. `real` is the agreement on 10,000 real images (1257 digits), which are opened to report.
"""

import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks.ablation.arms import ARMS, described
from benchmarks.ablation.cell import SCHEME, Cell, work_of
from benchmarks.ablation.manipulation import image_relations, student_relations
from benchmarks.ablation.table import table
from benchmarks.common.cells import read_rows, run_cells
from benchmarks.common.nets import DIGITS, NETS, Data
from benchmarks.common.options import data_option, out_option, show_option, threads_option
from dfq.images.batch import Batch
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.settings import Settings
from dfq.results.report import hardware, versions
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher
from dfq.training.image_sources import FixedImages
from dfq.training.trainer import Trainer

JURY_SEEDS = (101, 102)


class Ablation:
    """Runs cells; teacher, first images and jury are made once, and a student for each cell."""

    def __init__(self, data: Path | None, net: str):
        shared = Data(data)
        self.teacher: Teacher = shared.teacher(net)
        self.real = shared.real(net, self.teacher)
        self.work = work_of(net)
        self.fields = {"flip": net != DIGITS, "scheme": SCHEME}
        self._first: dict[int, Batch] = {}
        self._jury: Batch | None = None

    def first_images(self, seed: int) -> Batch:
        """Returns the half of the images that is made before there is a student; it is the same for every arm."""
        if seed not in self._first:
            settings = Settings(method="zeroq-kd", seed=seed, **self.fields)
            self._first[seed] = settings.make_synthesizer(self.teacher).sample(self.work.images // 2)
        return self._first[seed]

    def jury(self) -> Batch:
        """Returns images by two parametrizations and two other seeds, which are no arm's own."""
        if self._jury is None:
            made = [
                Settings(method=name, seed=seed, **self.fields).make_synthesizer(self.teacher).sample(self.work.jury)
                for name, seed in zip(("zeroq-kd", "rgal"), JURY_SEEDS, strict=True)
            ]
            self._jury = made[0].joined(made[1])
        return self._jury

    def run(self, cell: Cell) -> dict:
        """Returns the figures of a cell."""
        method, bits, seed, start = ARMS[cell.arm], cell.bits, cell.seed, time.monotonic()
        settings = Settings(
            bits=bits, seed=seed, method=method, steps=self.work.steps, images=self.work.images, **self.fields
        )
        student = make_student(self.teacher, settings.make_scheme())
        synthesizer = replace(settings, seed=seed + 1000).make_synthesizer(self.teacher)
        is_pool = issubclass(method.source, FixedImages)
        first = self.first_images(seed) if is_pool else synthesizer.sample(self.work.images // 2)
        training, held_out = first.split(QUANTIZE_DEFAULTS.held_out_of(self.work.images))
        if method.source is FixedImages:
            training = training.joined(synthesizer.sample(self.work.images // 2))
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
            "rounds": history.rounds,
            "images": self.grown(source.images_at_the_end()),
            "relations": self.relations(student, training),
            "seconds": time.monotonic() - start,
            "versions": versions(), "hardware": hardware(self.teacher.device),
        }  # fmt: skip

    def grown(self, images: Batch) -> dict[str, float]:
        """Measures the second half of the images, which is made against the student where an arm does that."""
        half = images.pick(torch.arange(max(len(images) - self.work.images // 2, 0), len(images)))
        return image_relations(self.teacher, half)

    def relations(self, student: torch.fx.GraphModule, training: Batch) -> dict[str, float]:
        """Measures the student on images in pairs that every arm has, as they are."""
        source = FixedImages(self.teacher, training, paired=1.0)
        batch, _ = source.batch(student, self.work.paired, 0.0, torch.Generator().manual_seed(0))
        return student_relations(self.teacher, student, batch)

    @torch.no_grad()
    def agreement(self, student: torch.nn.Module, images: Batch) -> float:
        """Returns the top-1 agreement with the teacher, in [0, 1]."""
        same = [int((student(b).argmax(1) == self.teacher(b).argmax(1)).sum()) for b in images.images.split(500)]
        return sum(same) / len(images)


@click.command()
@data_option(required=False)
@out_option("ablation.json")
@click.option(
    "--net", type=click.Choice([DIGITS, *NETS]), default="resnet20", show_default=True, help="Quantize this network."
)
@click.option("--bits", default=2, show_default=True, help="Give weights and activations this width.")
@click.option("--seeds", default=3, show_default=True, help="Run each arm with that many seeds.")
@click.option("--only", multiple=True, help="Run the arm of this name alone; the option may be given more than once.")
@show_option
@threads_option
def main(data, out: Path, net: str, bits: int, seeds: int, only: tuple[str, ...], show: bool, threads: int) -> None:
    """Measures what each part of RGAL contributes; a finished cell is never run again."""
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
