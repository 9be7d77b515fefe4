"""Measures what it brings to keep freed memory in the process (`dfq.system.freed_memory`).

    python -m benchmarks.speed.allocator [--out benchmarks/results/allocator.json]

The same synthesis runs with and without it, in turns, each run in a process of its own and on one thread. The figures
are the processor time per image and iteration, the part of it that the kernel takes, and peak memory.
"""

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.common.options import out_option
from dfq.calibration import recipes
from dfq.calibration.inversion.inversion import Inversion
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.registry import build
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.system.freed_memory import keep_freed_memory
from dfq.teacher import Teacher

NET = "torchvision/mobilenet_v2"  # with random weights: their values do not matter here
COUNT = 32  # images
ITERATIONS = 12
ARMS = {"as the C library does": False, "kept (dfq)": True}


def work(kept: bool) -> dict:
    """Makes one batch of images and returns the figures of this process."""
    if kept and not keep_freed_memory():
        raise click.ClickException("found no glibc; needed: Linux with glibc")
    torch.set_num_threads(1)
    spec = InputSpec(size=(3, 224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    teacher = Teacher(build(NET), spec)
    synthesizer = Inversion(replace(recipes.IMPROVED, iterations_large=ITERATIONS), teacher, batch_size=COUNT)
    before = resource.getrusage(resource.RUSAGE_SELF)
    synthesizer.sample(COUNT)
    after = resource.getrusage(resource.RUSAGE_SELF)
    per = 1000 / (COUNT * ITERATIONS)
    user, system = (after.ru_utime - before.ru_utime) * per, (after.ru_stime - before.ru_stime) * per
    return {"ms": user + system, "kernel_ms": system, "peak_mb": after.ru_maxrss / 1024}


def measure(kept: bool) -> dict:
    """Returns the figures of a new process."""
    command = [sys.executable, "-m", "benchmarks.speed.allocator", "--work", "kept" if kept else "plain"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


@click.command()
@out_option("allocator.json", reads=False)
@click.option("--rounds", default=3, show_default=True, help="Measure that many rounds.")
@click.option("--work", "one", type=click.Choice(["kept", "plain"]), hidden=True)
def main(out: Path, rounds: int, one: str | None) -> None:
    """Measures what it brings to keep freed memory in the process: the same synthesis with and without it."""
    if one:
        print(json.dumps(work(one == "kept")))
        return
    runs: dict[str, list[dict]] = {name: [] for name in ARMS}
    for _ in range(rounds):
        for name, kept in ARMS.items():
            runs[name].append(measure(kept))
    rows = [
        {"arm": name, "runs": found, **{key: median(run[key] for run in found) for key in found[0]}}
        for name, found in runs.items()
    ]
    write_json(out, {"net": NET, "rows": rows, "versions": versions(), "hardware": hardware(torch.device("cpu"))})
    table = Table(title=f"{NET}: synthesis, per image and iteration", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("freed memory", "core ms", "of these in the kernel", "peak MB"):
        table.add_column(column, justify="left" if column == "freed memory" else "right")
    for row in rows:
        table.add_row(row["arm"], f"{row['ms']:.1f}", f"{row['kernel_ms']:.1f}", f"{row['peak_mb']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
