"""Options that several commands share, each with one spelling, one help text and one check."""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import torch

from dfq.cli.option_types import (
    PATH,
    Architecture,
    Parsed,
    parse_numbers,
    parse_size,
)
from dfq.errors import DfqError
from dfq.images.labelled import Labelled
from dfq.jobs.labels import take_labels
from dfq.system import processes
from dfq.system.callbacks import Callback
from dfq.system.mlflow_tracking import MLflow
from dfq.system.progress import Progress
from dfq.system.tensorboard import TensorBoard
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher

FEW_THREADS = 8  # so many threads are allowed on any machine
TRACKERS = ("tensorboard", "mlflow")
ARCH_HELP = "Architecture: torchvision/NAME, timm/NAME, dfq/NAME, hf-hub:OWNER/NAME or path/to/net.py:factory"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a checkpoint is read, and where the command computes; each field is the option of the same name."""

    arch: str | None
    input_size: tuple[int, int, int] | None
    mean: float | tuple[float, ...] | None
    std: float | tuple[float, ...] | None
    weights: str | None
    device: str
    threads: int | None
    allow_pickle: bool
    no_classes: bool
    allow_float_ops: bool

    def load(self, model: Path) -> Teacher:
        """Sets the number of threads, and returns the teacher."""
        device = check_device(processes.own_device(self.device))
        set_threads(self.threads)
        return load_teacher(
            model, arch=self.arch, input_size=self.input_size, mean=self.mean, std=self.std,
            weights=self.weights, device=device, allow_pickle=self.allow_pickle,
            classifies=False if self.no_classes else None,
            allow_float_ops=self.allow_float_ops,
        )  # fmt: skip

    def load_for_run(self, model: Path, data: Path | None, progress: Progress) -> tuple[Teacher, Labelled | None]:
        """Loads the network, says what was assumed, and reads the labelled images, if there are any."""
        teacher = self.load(model)
        labelled = take_labels(data if processes.is_first() else None, teacher)
        for sentence in teacher.assumed:
            progress.note(f"assumed {sentence}")
        return teacher, labelled


def set_threads(threads: int | None) -> None:
    """Sets the number of CPU threads; None changes nothing."""
    if threads is None:
        return
    if threads < 1:
        raise DfqError(f"--threads {threads}", "at least 1", "leave it out to use all cores")
    if threads > (most := max(os.cpu_count() or 1, FEW_THREADS)):
        raise DfqError(f"--threads {threads}", f"at most {most} on this machine", "leave it out to use all cores")
    processes.set_threads(threads)


def check_device(name: str) -> str:
    """Returns the name of the device if torch can compute there now; else raises `DfqError`."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # A device without data, such as "meta", fails here.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        seen = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DfqError(
            f"--device {name}, which torch cannot use: {reason}",
            f"one of {', '.join(seen)} on this machine",
            "leave --device out, or install the torch build for your accelerator",
        ) from error
    return name


def _stack(options: list[Callable]) -> Callable:
    """Makes one decorator of several `click.option`s, which `--help` shows in this order."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


threads_option = click.option("--threads", type=int, metavar="N", help="CPU threads.  [default: all cores]")
devices_option = click.option(
    "--devices", type=click.IntRange(1), metavar="N",
    help="Number of processes that share the work: with --device cuda one for each GPU, else each with its part of the "
    "threads. torchrun starts more of them on several machines.  [default: 1]",
)  # fmt: skip
arch_option = click.option(
    "--arch", metavar="NAME", type=Architecture(), help=f"{ARCH_HELP}.  [default: what the checkpoint says]"
)
data_option = click.option(
    "--data", type=PATH, metavar="LABELLED",
    help="Labelled images, only to report accuracy: a folder with one sub-folder per class, or an .npz file with "
    "'images' (uint8, N×H×W×C) and 'labels'.  [default: none]",
)  # fmt: skip
pictures_option = click.option(
    "--pictures", type=PATH, metavar="FOLDER",
    help="Real pictures without labels, only to report how far the outputs are off on them: a folder of image files.  "
    "[default: none]",
)  # fmt: skip
resume_options = _stack(
    [
        click.option("--resume", is_flag=True, help="Go on with a killed run of the same options.  [default: off]"),
        click.option("--overwrite", is_flag=True, help="Replace the run that --out holds.  [default: off]"),
    ]
)
log_option = click.option(
    "--log", "trackers", type=click.Choice(TRACKERS), multiple=True,
    help="Keep losses and results for a tracker, too; repeatable. TensorBoard's files go into or beside --out, "
    "MLflow's to where MLFLOW_TRACKING_URI says.  [default: none]",
)  # fmt: skip
strict_option = click.option(
    "--strict", is_flag=True,
    help="Fail before any work where less than 90 % of the multiply–accumulates would be on integers, or a layer with "
    "weights was not recognised.  [default: off]",
)  # fmt: skip

model_options = _stack(
    [
        arch_option,
        click.option("--input-size", type=Parsed("CxHxW", parse_size), metavar="CxHxW",
                     help="Image size.  [default: the checkpoint's, else the published one]"),
        click.option("--mean", type=Parsed("numbers", parse_numbers), metavar="M,M,M",
                     help="Mean per channel for pixels in 0…1; one number stands for all.  [default: as --input-size]"),
        click.option("--std", type=Parsed("numbers", parse_numbers), metavar="S,S,S",
                     help="Standard deviation per channel; one number stands for all.  [default: as --input-size]"),
        click.option("--weights", metavar="KEY",
                     help="Which of several weights in the file to take: a key such as state_dict or model_ema, or the "
                     "first part of the names inside.  [default: the averaged ones (EMA), else the only ones]"),
        click.option("--device", default="cpu", metavar="NAME", show_default=True,
                     help="Where to compute: cpu, cuda, cuda:1."),
        threads_option,
        click.option("--no-classes", is_flag=True,
                     help="The output (N, C) is no logits of classes, but an embedding or other values, which the "
                     "student is fitted to as such.  [default: off]"),
        click.option("--allow-pickle", is_flag=True,
                     help="Read pickled Python objects. This RUNS CODE FROM THE FILE: only for files whose maker you "
                     "trust.  [default: off]"),
        click.option("--allow-float-ops", is_flag=True,
                     help="Take operators of an ONNX file for which there are no integers, such as LSTM and GatherND: "
                     "they stay in floating point.  [default: off]"),
    ]
)  # fmt: skip


def take_model_options(values: dict[str, Any]) -> ModelOptions:
    """Moves the values of `model_options` out of a command's keywords."""
    return ModelOptions(**{field.name: values.pop(field.name) for field in fields(ModelOptions)})


def callbacks_of(trackers: tuple[str, ...], folder: Path) -> list[Callback]:
    """Returns the callbacks of `--log`; none in processes that do not write.

    Args:
        trackers: Some of `TRACKERS`.
        folder: The folder of TensorBoard's files.

    Raises:
        DfqError: A package is not installed.
    """
    made: dict[str, Callable[[], Callback]] = {"tensorboard": lambda: TensorBoard(folder), "mlflow": MLflow}
    return [made[name]() for name in trackers] if processes.is_first() else []


def check_resume(resume: bool, overwrite: bool) -> None:
    """Raises a usage error where an earlier run is to be continued and replaced."""
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.")
