"""Measures the default method with each ingredient removed, or added, once; several seeds.

    python -m benchmarks.ingredients.run --data ../shared/data [--only ARM] [--formats paper-qat-2,deploy-4] [--show]

The network is ResNet-20, or ResNet-56 with --net resnet56. Arms share the images of a seed wherever their recipe is the
same, and arms that differ in the polish alone share the reconstruction. A finished cell is never run again; a killed
one goes on behind its last block. What chooses is the evidence of a jury: held-out *synthetic* images by two
parametrizations and of other seeds, which belong to no arm. Agreement on 10,000 real images and accuracy on 1000
labelled ones are measured to report. Two arms are no ingredients but the ceiling: they learn from real images, with and
without the polish. There are no units of single layers: within a residual block no tensor alone carries everything, so
there is nothing smaller to cut (`dfq.post_training.reconstruction.blocks`).
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import click
import torch
from rich.console import Console
from torch import fx

from benchmarks.common.cells import read_rows
from benchmarks.common.image_sets import WORK, image_set
from benchmarks.common.nets import Data, accuracy_on
from benchmarks.common.options import data_option, out_option, show_option, threads_option
from benchmarks.ingredients.arms import ARMS, ROW, Arm
from benchmarks.ingredients.cell import Work, is_of, key_of
from benchmarks.ingredients.table import table
from dfq.calibration import METHODS, Method
from dfq.evaluation.held_out_evidence import HeldOutEvidence
from dfq.images.batch import Batch
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.steps_after_ranges import Reconstruct, StepContext
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.image_sources import FixedImages
from dfq.training.trainer import Trainer

FORMATS = ("paper-qat-2", "paper-qat-3", "deploy-4")
JURY = ((101, METHODS["zeroq-kd"]), (102, METHODS["rgal"]))  # seed and parametrization of each kind
LEAVES_JURY = (103, METHODS["leaves"])  # is measured apart, because it favours arms that learn from leaves


class Ingredients:
    """Runs cells; teacher, jury and real images are made once, and a student for each cell."""

    def __init__(self, data: Path, net: str, work: Work):
        self.data, self.net, self.work = Data(data), net, work
        self.teacher: Teacher = self.data.teacher(net)
        self.jury, self.leaves_jury = self._evidence(*JURY), self._evidence(LEAVES_JURY)
        self.accuracy_of = accuracy_on(self.data.labelled(net, self.teacher), self.teacher)

    def _evidence(self, *kinds: tuple[int, Method]) -> HeldOutEvidence:
        """Returns a jury of images of some kinds, in equal shares."""
        made = [image_set(self.teacher, self.net, self.work.jury, seed=seed, method=method) for seed, method in kinds]
        return HeldOutEvidence(self.teacher, torch.cat([batch.images for batch in made]))

    def run(self, arm: Arm, form: str, seed: int) -> dict:
        """Returns the figures of a cell."""
        scheme, _, bits = form.rpartition("-")
        settings = Settings(bits=int(bits), scheme=scheme, seed=seed, method=arm.method, steps=self.work.steps)
        student = make_student(self.teacher, settings.make_scheme())
        training, held_out = self._images(arm, settings, form).split(QUANTIZE_DEFAULTS.held_out_of(self.work.images))
        calibrate(student, training.images[:256], ranges=settings.chosen_ranges, seed=seed)
        self._reconstruct(student, arm, training, f"{form} {seed}")
        if arm.polish is not None:
            source = FixedImages(self.teacher, training, None, len(training))
            trainer = Trainer(self.teacher, student, ROW.objective, settings.training(self.teacher.input_spec))
            trainer.fit(source, held_out)
        return {
            "evidence": self.jury.measure(student.eval()).to_dict(),
            "evidence_on_leaves": self.leaves_jury.measure(student).to_dict(),
            "real_agreement": self.data.agreement(self.net, self.teacher, student),
            "accuracy": {"teacher": self.accuracy_of(self.teacher), "student": self.accuracy_of(student)},
        }

    def _images(self, arm: Arm, settings: Settings, form: str) -> Batch:
        count, seed = self.work.images, settings.seed
        if arm.real:
            return self.data.real(self.net, self.teacher, count)
        if not arm.against_student:
            return image_set(self.teacher, self.net, count, seed=seed, method=arm.method)
        first = image_set(self.teacher, self.net, count, seed=seed, method=ARMS["reconstruct"].method)
        first = first.split(len(first) // 2)[0]
        student = calibrate(make_student(self.teacher, settings.make_scheme()), first.images[:256]).eval()
        second = image_set(
            self.teacher, self.net, count // 2, seed=seed + 1000, method=arm.method, against=(form, student)
        )  # fmt: skip
        return second.joined(first)  # the last ones are held out; they are by the recipe of the other arms

    def _reconstruct(self, student: fx.GraphModule, arm: Arm, training: Batch, where: str) -> None:
        """Fits the blocks; arms that fit them in the same way on the same images share a checkpoint."""
        fit = replace(arm.fit, iterations=self.work.iterations)
        images = "real" if arm.real else arm.images
        recipe = hashlib.sha256(f"{self.net} {where} {images} {fit} {self.work}".encode()).hexdigest()[:16]
        WORK.mkdir(parents=True, exist_ok=True)
        checkpoint = WORK / f"reconstruction-{recipe}.pt"
        seed = int(where.split()[-1])
        Reconstruct(fit)(
            StepContext(student.eval(), self.teacher, training.images, Stage(seed=seed, checkpoint=checkpoint))
        )


@click.command()
@data_option()
@out_option("ingredients.json")
@click.option(
    "--net",
    type=click.Choice(["resnet20", "resnet56"]),
    default="resnet20",
    show_default=True,
    help="Quantize this network.",
)
@click.option(
    "--formats", default=",".join(FORMATS), show_default=True, help="Run these formats, each a scheme and a width."
)
@click.option("--seeds", default=3, show_default=True, help="Run each arm with that many seeds.")
@click.option("--only", multiple=True, help="Run the arm of this name alone; the option may be given more than once.")
@click.option("--images", default=Work.images, show_default=True, help="Learn from that many images.")
@click.option("--iterations", default=Work.iterations, show_default=True, help="Fit each block that many times.")
@click.option("--steps", default=Work.steps, show_default=True, help="Polish for that many steps.")
@click.option("--jury", default=Work.jury, show_default=True, help="Judge on that many images of each of two kinds.")
@show_option
@threads_option
def main(
    data: Path,
    out: Path,
    net: str,
    formats: str,
    seeds: int,
    only: tuple[str, ...],
    show: bool,
    threads: int,
    **amounts,
):
    """Measures the default method with each ingredient removed, or added, once."""
    torch.set_num_threads(threads)
    console, work = Console(), Work(**amounts)
    ingredients = None if show else Ingredients(data, net, work)
    for seed in range(seeds) if ingredients else ():
        for form in formats.split(","):
            for name in only or ARMS:
                key = key_of(net, name, form, seed, work)
                if any(is_of(row, key) for row in read_rows(out)):
                    continue
                figures = ingredients.run(ARMS[name], form, seed)
                environment = {"versions": versions(), "hardware": hardware(ingredients.teacher.device)}
                write_json(out, [*read_rows(out), {**key, **figures, **environment}])  # others may have added cells
                console.print(f"{name}, {form}, seed {seed}: {figures['evidence']}", soft_wrap=True)
    for form in formats.split(","):
        console.print(table(read_rows(out), net, form, work))


if __name__ == "__main__":
    main()
