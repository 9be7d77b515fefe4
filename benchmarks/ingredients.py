"""The default method with each ingredient removed once, or added once: ResNet-20 (or --net resnet56), several seeds.

    python benchmarks/ingredients.py --data ../shared/data [--only ARM] [--formats paper-qat-2,deploy-4] [--show]

Arms share the images of a seed wherever their recipe is the same, and arms that differ in the polish alone share the
reconstruction. A finished cell is never run again; a killed one goes on behind its last block. What chooses is the
evidence of a jury: held-out *synthetic* images by two parametrizations and of other seeds, which belong to no arm.
Agreement on 10,000 real images and accuracy on 1000 labelled ones are measured to report. Two arms are no ingredients
but the ceiling: the same on real images, with and without the polish. Units of single layers are missing: within a
residual block no tensor alone carries everything, so there is nothing smaller to cut
(`dfq.post_training.reconstruction.blocks`).
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from image_sets import WORK, image_set
from ingredients_arms import ARMS, ROW, Arm
from nets import Data, accuracy_on
from rich import box
from rich.console import Console
from rich.table import Table
from torch import fx

from dfq.calibration import METHODS
from dfq.evaluation.drop_estimate import HeldOutEvidence
from dfq.images.batch import Batch
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import held_out_count
from dfq.post_training.steps_after_ranges import Reconstruct, StepContext
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget
from dfq.system.progress import Silent
from dfq.teacher import Teacher
from dfq.training.image_sources import FixedImages
from dfq.training.trainer import Trainer

FORMATS = ("paper-qat-2", "paper-qat-3", "deploy-4")
JURY = ((101, METHODS["zeroq-kd"]), (102, METHODS["rgal"]))  # (seed, parametrization)


@dataclass(frozen=True)
class Work:
    """How much each cell does: half of what `reconstruct` does by default.

    Attributes:
        images: to learn from, held-out ones included.
        iterations: per block.
        steps: of the polish.
        jury: images of each parametrization.
    """

    images: int = 512
    iterations: int = 1600
    steps: int = 300
    jury: int = 128


def key_of(net: str, arm: str, form: str, seed: int, work: Work) -> dict:
    """What a cell is; one that ran with another recipe of that name, or other work, does not count as finished."""
    return {"net": net, "arm": arm, "format": form, "seed": seed, "work": work.__dict__, "recipe": recipe_of(ARMS[arm])}


def recipe_of(arm: Arm) -> str:
    """What an arm is, in words that do not depend on where its classes lie."""
    return re.sub(r"<(?:class|function) '?[\w.]*?(\w+)'?(?: at 0x\w+)?>", r"\1", repr(arm))


class Ingredients:
    """Teacher, jury and real images, each made once; one student per cell."""

    def __init__(self, data: Path, net: str, work: Work):
        self.data, self.net, self.work = Data(data), net, work
        self.teacher: Teacher = self.data.teacher(net)
        jury = [image_set(self.teacher, self.net, work.jury, seed=seed, method=method) for seed, method in JURY]
        self.jury = HeldOutEvidence(self.teacher, torch.cat([batch.images for batch in jury]))
        self.accuracy_of = accuracy_on(self.data.labelled(net, self.teacher), self.teacher)

    def run(self, arm: Arm, form: str, seed: int) -> dict:
        """A row's figures."""
        scheme, _, bits = form.rpartition("-")
        settings = Settings(bits=int(bits), scheme=scheme, seed=seed, method=arm.method, steps=self.work.steps)
        student = make_student(self.teacher, settings.make_scheme())
        training, held_out = self._images(arm, settings, form).split(held_out_count(self.work.images))
        calibrate(student, training.images[:256], ranges=settings.chosen_ranges, seed=seed)
        self._reconstruct(student, arm, training, f"{form} {seed}")
        if arm.polish is not None:
            source = FixedImages(self.teacher, training, None, len(training), paired=False)
            trainer = Trainer(self.teacher, student, ROW.objective, settings.training(self.teacher.input_spec))
            trainer.fit(source, held_out)
        return {
            "evidence": self.jury.measure(student.eval()).to_dict(),
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
        return second.joined(first)  # the last ones are held out: by the recipe of the other arms

    def _reconstruct(self, student: fx.GraphModule, arm: Arm, training: Batch, where: str) -> None:
        """With a checkpoint that arms share whose blocks are fitted in the same way on the same images."""
        fit = replace(arm.fit, iterations=self.work.iterations)
        images = "real" if arm.real else arm.images
        recipe = hashlib.sha256(f"{self.net} {where} {images} {fit} {self.work}".encode()).hexdigest()[:16]
        WORK.mkdir(parents=True, exist_ok=True)
        checkpoint = WORK / f"reconstruction-{recipe}.pt"
        seed = int(where.split()[-1])
        Reconstruct(fit)(
            StepContext(student.eval(), self.teacher, training.images, Budget(), Silent(), seed, checkpoint)
        )


def table(rows: list[dict], net: str, form: str, work: Work) -> Table:
    title = f"{net} {form}: {work.images} images, {work.iterations} iterations a block, {work.steps} steps"
    view = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (
        "arm",
        "seeds",
        "jury: mixtures, %",
        "jury: divergence",
        "10,000 real images, %",
        "accuracy",
    ):
        view.add_column(column, justify="left" if column == "arm" else "right")
    for arm in ARMS:
        group = [row for row in rows if is_of(row, key_of(net, arm, form, row["seed"], work))]
        if group:
            mixed = spread([100 * row["evidence"]["mixed_agreement"] for row in group], 2)
            divergence = spread([row["evidence"]["divergence"] for row in group], 3)
            real = spread([100 * row["real_agreement"] for row in group], 2)
            known = [100 * row["accuracy"]["student"] for row in group if "accuracy" in row]
            accuracy = spread(known, 1) if known else ""
            view.add_row(arm, str(len(group)), mixed, divergence, real, accuracy)
    return view


def spread(values: list[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def is_of(row: dict, key: dict) -> bool:
    return all(row.get(name) == value for name, value in key.items())


def read_rows(out: Path) -> list[dict]:
    return json.loads(out.read_text()) if out.exists() else []


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/ingredients.json"))
@click.option("--net", type=click.Choice(["resnet20", "resnet56"]), default="resnet20", show_default=True)
@click.option("--formats", default=",".join(FORMATS), show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", multiple=True, help="run the arm of this name; may be given more than once")
@click.option("--images", default=Work.images, show_default=True)
@click.option("--iterations", default=Work.iterations, show_default=True, help="per block")
@click.option("--steps", default=Work.steps, show_default=True, help="of the polish")
@click.option(
    "--jury",
    default=Work.jury,
    show_default=True,
    help="images of each of its two parametrizations",
)
@click.option("--show", is_flag=True, help="print the tables of finished cells and stop")
@click.option("--threads", default=2, show_default=True)
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
