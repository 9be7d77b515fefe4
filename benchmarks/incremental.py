"""Class-incremental learning without old images: every strategy, several seeds; a finished cell is never run again.

    python benchmarks/incremental.py [--data ../shared/data] [--profile NAME] [--only TEXT] [--show]

The first network learns its classes from real images, as anybody's did; from then on a session sees the images of its
new classes alone. Held-out images are opened to report. A cell is one seed of one strategy over all sessions.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean

import click
import numpy as np
import torch
from accuracy_table import spread
from cells import read_rows, run_cells, stop_after
from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from dfq.images.augment import Augment
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import Labelled
from dfq.jobs.demo import digits
from dfq.jobs.increment import STRATEGIES, IncrementSettings, increment_sessions
from dfq.jobs.increment.run import as_input
from dfq.models.registry import DIGITS_INPUT, build
from dfq.results.report import hardware, versions
from dfq.system.compute_dtype import fast_autocast
from dfq.teacher import Teacher

CIFAR_INPUT = InputSpec(size=(3, 32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def cifar(folder: Path, part: str) -> Labelled:
    file = {"training": "train_10000.npz", "held-out": "test_1000.npz"}[part]
    with np.load(folder / "cifar10" / file, allow_pickle=False) as found:
        return Labelled(found["images"], found["labels"].astype(np.int64))


@dataclass(frozen=True)
class Source:
    """Images of ten classes, and the network that learns them; the first five are the ones it starts with.

    Attributes:
        read: (data folder, "training" or "held-out") → images.
        steps, learning_rate, shift: of the first network's training, by AdamW in batches of 64.
        autocast: that training is in bfloat16 where the hardware is.
    """

    read: Callable[[Path, str], Labelled]
    arch: str
    input_spec: InputSpec
    steps: int
    learning_rate: float
    shift: int
    flip: bool
    autocast: bool


SOURCES = {
    "digits": Source(
        lambda folder, part: digits(part), "dfq/digits_cnn", DIGITS_INPUT, 400, 0.005, 1, flip=False, autocast=False
    ),
    "cifar": Source(cifar, "dfq/resnet20", CIFAR_INPUT, 4000, 0.002, 4, flip=True, autocast=True),
}


@dataclass(frozen=True)
class Profile:
    """`settings` are fields of `dfq.jobs.increment.IncrementSettings`, equal for all strategies, for each session."""

    source: str
    sessions: tuple[tuple[int, ...], ...]  # the classes of each
    seeds: int = 3
    settings: dict = field(default_factory=dict)


ALL_AT_ONCE, ONE_BY_ONE = ((5, 6, 7, 8, 9),), ((5,), (6,), (7,), (8,), (9,))
PROFILES = {
    "digits-5+5": Profile("digits", ALL_AT_ONCE, settings={"images": 256}),
    "digits-5+1x5": Profile("digits", ONE_BY_ONE, settings={"images": 256, "steps": 200}),
    "cifar-5+5": Profile("cifar", ALL_AT_ONCE, seeds=1, settings={"images": 1024, "steps": 800}),
    "smoke": Profile("digits", ONE_BY_ONE[:2], seeds=1, settings={"images": 4, "steps": 2, "budget": 10.0}),
}


@dataclass(frozen=True)
class Cell:
    """One row of the results."""

    profile: str
    strategy: str
    seed: int

    def name(self) -> str:
        return f"{self.profile} {self.strategy} seed {self.seed}"


def cells_of(name: str) -> list[Cell]:
    return [Cell(name, strategy, seed) for seed in range(PROFILES[name].seeds) for strategy in STRATEGIES]


def of_classes(images: Labelled, classes: tuple[int, ...]) -> Labelled:
    """Their images, numbered from 0."""
    kept = np.isin(images.labels, classes)
    return Labelled(images.images[kept], images.labels[kept] - classes[0])


@cache  # one for all strategies
def first_network(name: str, data: Path, classes: tuple[int, ...], seed: int) -> Teacher:
    """A network that has learned the training images of those classes of a source."""
    source = SOURCES[name]
    images = of_classes(source.read(data, "training"), classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(source.arch, int(images.labels.max()) + 1)
    teacher = Teacher(model, source.input_spec)  # a frozen copy: only for the normalisation here
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
    """The cell's figures."""
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


def table(profile: str, rows: list[dict]) -> Table:
    """In %: after the last session the accuracy on the first classes and on all later ones, together ("all"); average
    incremental accuracy; forgetting. Mean ± standard deviation over the seeds.
    """
    seeds = len({row["seed"] for row in rows})
    view = Table(title=f"profile {profile}, seeds: {seeds}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("strategy", "old", "new", "all", "average", "forgetting", "s"):
        view.add_column(column, justify="left" if column == "strategy" else "right", no_wrap=True)
    for strategy in STRATEGIES:
        group = [row for row in rows if row["strategy"] == strategy]
        if not group:
            continue
        last = [row["by_group"][-1] for row in group]
        figures = (
            [groups[0] for groups in last], [mean(groups[1:]) for groups in last], [row["seen"][-1] for row in group],
            [row["average_accuracy"] for row in group], [row["forgetting"] for row in group],
        )  # fmt: skip
        cells = [spread([100 * value for value in values], 1) for values in figures]
        view.add_row(strategy, *cells, f"{mean(row['cpu_seconds'] for row in group):.0f}")
    return view


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), default=Path(), help="for CIFAR: the shared data")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/incremental.json"))
@click.option("--profile", type=click.Choice(list(PROFILES)), default="digits-5+5", show_default=True)
@click.option("--only", default="", help="run the cells whose name contains all of these words")
@click.option("--show", is_flag=True, help="print the tables of finished cells and stop")
@click.option("--threads", default=2, show_default=True)
@click.option("--minutes", type=float, help="stop after that time; unfinished cells start afresh")
def main(data: Path, out: Path, profile: str, only: str, show: bool, threads: int, minutes: float | None):
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
