"""Measures how well two processes share synthesis and reconstruction, against one process with one thread.

    python -m benchmarks.speed.many [--rounds 3] [--out benchmarks/results/many.json]

Each arm is a program of its own, with one thread in each process; the arms alternate, and do the same work on
ResNet-20 with random weights. The efficiency is time of one process ÷ (2 · time of two), from medians over rounds.
On a busy machine it says little; core time of one process ÷ core time of both, which leaves waiting out, is shown
beside.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import torch

from benchmarks.common.options import out_option
from dfq.calibration import recipes
from dfq.calibration.inversion.inversion import Inversion
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.registry import build
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system import processes
from dfq.system.exchange import gathered
from dfq.system.launch import run_in_processes, was_started_with_others
from dfq.system.stage import Stage
from dfq.teacher import Teacher

COUNTS = (1, 2)  # processes of the arms
SPEC = InputSpec(size=(3, 32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD)
BATCHES = (8, 32)  # images per iteration of reconstruction: the default on a CPU, and that on a GPU


def measure(images: int, iterations: int) -> dict[str, list[float]]:
    """Does the work of one arm in this process; returns the seconds and the core seconds of all processes, by part.

    Args:
        images: Number of images, which are made in batches of 64.
        iterations: Number of iterations for each batch of images and each block.
    """
    torch.manual_seed(0)
    teacher = Teacher(build("dfq/resnet20").eval(), SPEC)
    teacher(torch.zeros(64, *SPEC.size))
    kind = replace(recipes.IMPROVED, iterations=iterations)
    made, found = _timed(lambda: Inversion(kind, teacher, Stage(), batch_size=64).sample(images).images)
    seconds = {"synthesis": found}
    for batch_size in BATCHES:
        student = calibrate(make_student(teacher, make_scheme("deploy", bits=4)), made).eval()
        settings = FitSettings(iterations=iterations, batch_size=batch_size, positions=2**17)
        _, found = _timed(lambda: reconstruct(student, teacher, made, settings, Stage()))  # noqa: B023
        seconds[f"reconstruction, {batch_size} images"] = found
    return seconds


def _timed(work: Callable) -> tuple:
    start, core = time.monotonic(), time.process_time()
    made = work()
    seconds = time.monotonic() - start
    return made, [seconds, sum(gathered(time.process_time() - core))]


def _work(images: int, iterations: int, file: Path) -> None:
    """Works as one process of an arm; the first one writes the seconds."""
    if was_started_with_others():
        processes.join()
    torch.set_num_threads(1)
    found = measure(images, iterations)
    if processes.is_first():
        file.write_text(json.dumps(found))
    processes.leave()


def _ratio(seconds: dict[int, list[dict[str, list[float]]]], name: str, kind: int) -> float:
    """Returns the efficiency of a part by the clock (`kind` 0) or by core time (1)."""
    one, two = (median(each[name][kind] for each in seconds[count]) for count in COUNTS)
    return one / two if kind else one / (COUNTS[1] * two)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Number of times that each arm is measured.")
@click.option("--images", default=256, show_default=True, help="Number of images.")
@click.option(
    "--iterations", default=100, show_default=True, help="Iterations for each batch of images and each block."
)
@click.option("--arm", type=click.Path(path_type=Path), hidden=True)
@out_option("many.json", reads=False)
def main(rounds: int, images: int, iterations: int, arm: Path | None, out: Path) -> None:
    """Measures the efficiency of two processes."""
    if arm is not None:
        _work(images, iterations, arm)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    seconds: dict[int, list[dict[str, list[float]]]] = {count: [] for count in COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seconds.json"
        work = [
            "-m",
            "benchmarks.speed.many",
            "--images",
            str(images),
            "--iterations",
            str(iterations),
            "--arm",
            str(file),
        ]
        for _ in range(rounds):
            for count in COUNTS:
                if run_in_processes(count, work) != 0:
                    sys.exit(1)
                seconds[count].append(json.loads(file.read_text()))
    efficiency = {name: [_ratio(seconds, name, kind) for kind in (0, 1)] for name in seconds[1][0]}
    for name, (by_clock, by_cores) in efficiency.items():
        click.echo(f"{name}: {by_clock:.2f} by the clock, {by_cores:.2f} by core time")
    rows = {str(count): found for count, found in seconds.items()}
    write_json(
        out,
        {"seconds": rows, "efficiency": efficiency, "versions": versions(), "hardware": hardware(torch.device("cpu"))},
    )


if __name__ == "__main__":
    main()
