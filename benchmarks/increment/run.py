"""Measures class-incremental learning without old images: every strategy, several seeds.

    python -m benchmarks.increment.run [--data ../shared/data] [--profile NAME] [--only TEXT] [--show]

The first network learns its classes from real images, as anybody's did; from then on a session sees the images of its
new classes alone. Held-out images are opened to report. A cell is one seed of one strategy over all sessions; a
finished cell is never run again.
"""

import time
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from torch import nn

from benchmarks.common.cells import read_rows, run_cells, stop_after
from benchmarks.common.options import only_option, out_option, profile_option, show_option, threads_option
from benchmarks.increment.profiles import PROFILES, SOURCES, Cell, cells_of
from benchmarks.increment.table import table
from dfq.images.augment import Augment
from dfq.images.labelled import Labelled
from dfq.jobs.increment import IncrementSettings, increment_sessions
from dfq.jobs.increment.run import as_input
from dfq.models.registry import build
from dfq.results.report import hardware, versions
from dfq.system.compute_dtype import fast_autocast
from dfq.teacher import Teacher


def of_classes(images: Labelled, classes: tuple[int, ...]) -> Labelled:
    """Returns the images of those classes, which are numbered from 0."""
    kept = np.isin(images.labels, classes)
    return Labelled(images.images[kept], images.labels[kept] - classes[0])


@cache  # one for all strategies
def first_network(name: str, data: Path, classes: tuple[int, ...], seed: int) -> Teacher:
    """Returns a network that has learned the training images of those classes of a source."""
    source = SOURCES[name]
    images = of_classes(source.read(data, "training"), classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(source.arch, int(images.labels.max()) + 1)
    teacher = Teacher(model, source.input_spec)  # a frozen copy, used only for the normalisation here
    inputs, labels = as_input(teacher, images), torch.from_numpy(images.labels)
    generator, augment = torch.Generator().manual_seed(seed), Augment(flip=source.flip, shift=source.shift)
    optimizer = torch.optim.AdamW(model.parameters(), lr=source.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, source.learning_rate, total_steps=source.steps)
    model.requires_grad_(True).train()
    for _ in range(source.steps):
        index = torch.randint(len(inputs), (64,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        seen = augment(inputs[index], generator)
        with fast_autocast(seen.device) if source.autocast else nullcontext():
            loss = nn.functional.cross_entropy(model(seen).float(), labels[index])
        loss.backward()
        optimizer.step()
        schedule.step()
    return Teacher(model.eval(), source.input_spec)


def run(cell: Cell, data: Path) -> dict:
    """Returns the figures of a cell."""
    profile = PROFILES[cell.profile]
    source = SOURCES[profile.source]
    training, held_out = source.read(data, "training"), source.read(data, "held-out")
    old = tuple(range(profile.sessions[0][0]))
    teacher = first_network(profile.source, data, old, cell.seed)
    start = time.process_time()
    settings = IncrementSettings(strategy=cell.strategy, flip=source.flip, seed=cell.seed, **profile.settings)
    found = increment_sessions(
        teacher, [of_classes(training, classes) for classes in profile.sessions], settings,
        held_out=[of_classes(held_out, classes) for classes in (old, *profile.sessions)],
    )  # fmt: skip
    return {
        **found.to_dict(), "settings": dict(vars(settings)), "cpu_seconds": time.process_time() - start,
        "versions": versions(), "hardware": hardware(teacher.device),
    }  # fmt: skip


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    default=Path(),
    help="Read the images of CIFAR-10 from this folder.",
)
@out_option("incremental.json")
@profile_option(PROFILES, default="digits-5+5")
@only_option
@show_option
@threads_option
@click.option("--minutes", type=float, help="Stop after that time; unfinished cells start afresh.")
def main(data: Path, out: Path, profile: str, only: str, show: bool, threads: int, minutes: float | None):
    """Measures class-incremental learning without old images; a finished cell is never run again."""
    torch.set_num_threads(threads)
    console = Console()
    stop_after(minutes)
    if not show:
        for row in run_cells(cells_of(profile), out, only, lambda cell: run(cell, data)):
            console.print(f"{row['strategy']} seed {row['seed']}: {[round(value, 3) for value in row['by_group'][-1]]}")
    for name in PROFILES:
        rows = [row for row in read_rows(out) if row["profile"] == name]
        if rows:
            console.print(table(name, rows))


if __name__ == "__main__":
    main()
