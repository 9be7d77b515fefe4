"""Measures what each method costs: images per second, training steps per second, and where a step's time goes.

    python -m benchmarks.speed.methods [--threads 2] [--rounds 3]

The network is ResNet-20 with random weights at W3A3 `paper-qat`; nothing is measured but time. Methods take turns, so
that other work on the machine hits all of them; the results are medians over the rounds. Shares are those of synthesis,
triplets and student step in the run that `dfq quantize` would make with 1024 images and 600 steps, without what a
method does between calibration and training.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import click
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.common.options import out_option, threads_option
from dfq.calibration import METHODS
from dfq.calibration.inversion.inversion import Inversion
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.jobs.quantize.settings import Settings
from dfq.models.registry import build
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher
from dfq.training.growing_images import GrowingImages
from dfq.training.image_sources import FixedImages, FreshImages
from dfq.training.relational_losses import DISTANCE_WEIGHTED, draw_triplets
from dfq.training.trainer import Trainer

IMAGES = 1024  # of a whole run
STEPS = 600  # of a whole run
BATCH = 256
FEW = 6  # steps or iterations that are timed at once
SPEC = InputSpec(size=(3, 32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Subject:
    """One method with its teacher and a calibrated student; it measures itself in rounds."""

    def __init__(self, name: str):
        self.method = METHODS[name]
        self.settings = Settings(bits=3, scheme="paper-qat", method=name, steps=FEW)
        self.teacher = Teacher(build("dfq/resnet20", 10), SPEC)
        self.images = Batch(torch.randn(BATCH, *SPEC.size), torch.arange(BATCH) % 10)
        student = make_student(self.teacher, self.settings.make_scheme())
        self.student = calibrate(student, self.images.images[:64])

    def round(self) -> dict[str, float]:
        """Returns the seconds of a synthesis iteration without and with a student, of a training step and of a draw."""
        seconds = {"free": self.synthesis(None), "against": self.synthesis(self.student)}
        if self.method.objective is not None:
            seconds["step"] = self.training_step()
        features = torch.rand(BATCH, 64)
        seconds["draw"] = timed(lambda: draw_triplets(features, self.images.labels, DISTANCE_WEIGHTED), 20)
        return seconds

    def synthesis(self, student) -> float:
        """Returns the seconds of one synthesis iteration."""
        row = self.method.synthesizer
        if row.func is not Inversion:  # a generator that moves along
            config = replace(row.args[0], warm_up=1)  # a longer one would run within the first update
            synthesizer = row.func(config, self.teacher)
            synthesizer.update(self.student)
            return timed(partial(synthesizer.update, self.student), FEW)
        config = replace(row.args[0], iterations=FEW)
        synthesizer = row.func(config, self.teacher, batch_size=BATCH)
        if student is not None:
            synthesizer.update(student)
        return timed(partial(synthesizer.sample, BATCH), 1) / FEW

    def training_step(self) -> float:
        """Returns the seconds of one training step without the synthesizer's share."""
        source = FixedImages(self.teacher, self.images, paired=self.method.paired)
        settings = replace(self.settings.training(SPEC), evaluate_every=10**6, learning_rate=0.0)
        held_out = self.images.pick(torch.arange(2))
        trainer = Trainer(self.teacher, self.student, self.method.objective, settings)
        return timed(partial(trainer.fit, source, held_out), 1) / FEW


def timed(function: Callable[[], object], repeats: int) -> float:
    """Returns the mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def summary(name: str, seconds: dict[str, float]) -> dict[str, float]:
    """Returns images and steps per second, and the shares of a whole run's time."""
    method = METHODS[name]
    config = method.synthesizer.args[0]
    if issubclass(method.source, FreshImages):
        synthesis = seconds["free"] * (config.warm_up + STEPS)
        images_per_second = 128 / seconds["free"]
    else:
        batches, first = IMAGES / BATCH, method.first_share if method.source is GrowingImages else 1.0
        per_batch = config.iterations * (first * seconds["free"] + (1 - first) * seconds["against"])
        synthesis, images_per_second = batches * per_batch, BATCH / per_batch
    training = STEPS * seconds.get("step", 0.0)
    draws = 0.0
    if method.source is GrowingImages:
        draws = seconds["draw"] * (STEPS + (1 - method.first_share) * config.iterations * IMAGES / BATCH)
    return {
        "images_per_second": images_per_second,
        "steps_per_second": 1 / seconds["step"] if "step" in seconds else 0.0,
        "synthesis_share": synthesis / (synthesis + training),
        "triplets_share": draws / (synthesis + training),
        "triplets_of_a_step": seconds["draw"] / seconds["step"] if draws else 0.0,
        "run_seconds": synthesis + training,
    }


@click.command()
@threads_option
@click.option("--rounds", default=3, show_default=True, help="Measure that many rounds.")
@out_option("method_speed.json", reads=False)
def main(threads: int, rounds: int, out: Path) -> None:
    """Measures what each method costs in time."""
    torch.set_num_threads(threads)
    subjects = {name: Subject(name) for name in METHODS}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    for _ in range(rounds + 1):
        for name, subject in subjects.items():
            measured[name].append(subject.round())
    rows = {}
    for name, found in measured.items():
        medians = {key: median(one[key] for one in found[1:]) for key in found[0]}  # the first round warms up
        rows[name] = {"seconds": medians, **summary(name, medians)}
    environment = {"versions": versions(), "hardware": hardware(torch.device("cpu"))}
    write_json(out, {"methods": rows, "rounds": rounds, **environment})
    Console().print(table(rows))


def table(rows: dict[str, dict]) -> Table:
    """Returns the table of the methods."""
    view = Table(title="ResNet-20, 32×32, W3A3", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("method", "images/s", "steps/s", "synthesis", "triplets", "draw ÷ step", "run, s"):
        view.add_column(column, justify="left" if column == "method" else "right")
    for name, row in rows.items():
        view.add_row(
            name, f"{row['images_per_second']:.1f}", f"{row['steps_per_second']:.1f}",
            f"{row['synthesis_share']:.0%}", f"{row['triplets_share']:.1%}", f"{row['triplets_of_a_step']:.1%}",
            f"{row['run_seconds']:.0f}",
        )  # fmt: skip
    return view


if __name__ == "__main__":
    main()
