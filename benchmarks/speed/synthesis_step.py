"""Measures what the BatchNorm-statistics loss costs: a synthesis step with it against a plain forward + backward.

    python -m benchmarks.speed.synthesis_step [--out benchmarks/results/synthesis_step.json]

Rounds of the three kinds of step alternate in one process; the results are medians and their ratio to the plain step.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import torch
from torch import Tensor, nn

from benchmarks.common.options import out_option
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.registry import build
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.system.compute_dtype import fast_autocast
from dfq.teacher import Teacher

# Architecture, side of the images and batch size.
CASES = (("dfq/resnet20", 32, 256), ("torchvision/resnet18", 224, 16), ("torchvision/mobilenet_v2", 224, 16))


def plain_step(teacher: Teacher, images: Tensor) -> None:
    """Runs forward, and backward to the images."""
    images.grad = None
    with fast_autocast(teacher.device):
        logits = teacher(images)
    logits.float().square().mean().backward()


def statistics_step(teacher: Teacher, images: Tensor) -> None:
    """Does so with the BatchNorm-statistics loss of dfq."""
    images.grad = None
    with teacher.bn_statistics() as statistics:
        with fast_autocast(teacher.device):
            teacher(images)
        statistics.loss().backward()


def usual_hooks_step(teacher: Teacher, images: Tensor) -> None:
    """Does so in the way of the published code: `mean` and `var` in a forward hook of every layer."""
    images.grad = None
    losses: list[Tensor] = []

    def hook(layer, inputs, output):
        features = inputs[0].float()
        mean = features.mean((0, 2, 3)) - layer.running_mean
        variance = features.var((0, 2, 3), unbiased=False) - layer.running_var
        losses.append(mean.norm() + variance.norm())

    layers = [m for m in teacher.model.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    with fast_autocast(teacher.device):
        teacher(images)
    torch.stack(losses).sum().backward()
    for handle in handles:
        handle.remove()


STEPS: dict[str, Callable[[Teacher, Tensor], None]] = {
    "plain": plain_step,
    "statistics": statistics_step,
    "usual hooks": usual_hooks_step,
}


def measure(arch: str, side: int, batch_size: int, rounds: int) -> dict:
    """Returns the median seconds of each kind of step, and the ratios to the plain one."""
    spec = InputSpec(size=(3, side, side), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    teacher = Teacher(build(arch), spec)
    images = torch.randn(batch_size, 3, side, side).to(memory_format=torch.channels_last).requires_grad_()
    seconds: dict[str, list[float]] = {name: [] for name in STEPS}
    for index in range(rounds + 1):
        for name, step in STEPS.items():
            start = time.perf_counter()
            step(teacher, images)
            if index:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    medians = {name: median(values) for name, values in seconds.items()}
    ratios = {name: value / medians["plain"] for name, value in medians.items()}
    return {"arch": arch, "batch_size": batch_size, "side": side, "seconds": medians, "ratio": ratios}


@click.command()
@click.option("--rounds", default=15, show_default=True, help="Measure that many rounds.")
@out_option("synthesis_step.json", reads=False)
def main(rounds: int, out: Path) -> None:
    """Measures what the BatchNorm-statistics loss costs in a step of synthesis."""
    torch.manual_seed(0)
    rows = [measure(*case, rounds) for case in CASES]
    for row in rows:
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in row["ratio"].items())
        click.echo(f"{row['arch']:26} batch {row['batch_size']:4}: {ratios}")
    write_json(out, {"rows": rows, "versions": versions(), "hardware": hardware(torch.device("cpu"))})


if __name__ == "__main__":
    main()
