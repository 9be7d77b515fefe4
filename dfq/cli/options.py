"""Options that several commands share: one spelling, one help text, one check each."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import torch

from dfq.calibration import METHODS
from dfq.calibration.methods import AUTO
from dfq.cli.option_types import (
    Architecture,
    Named,
    Parsed,
    parse_bits,
    parse_bytes,
    parse_layer_bits,
    parse_numbers,
    parse_size,
)
from dfq.errors import DfqError
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import SCHEMES
from dfq.quantizers.targets import DEFAULT_TARGET, TARGETS
from dfq.system.budget import parse_duration
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher

ARCH_HELP = "Architecture: torchvision/NAME, timm/NAME, dfq/NAME, hf-hub:OWNER/NAME or path/to/net.py:factory"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How to read a checkpoint, and where to compute; each field is the option of the same name."""

    arch: str | None
    input_size: tuple[int, int, int] | None
    mean: float | tuple[float, ...] | None
    std: float | tuple[float, ...] | None
    weights: str | None
    device: str
    threads: int | None
    allow_pickle: bool

    def load(self, model: Path) -> Teacher:
        """The teacher; sets the number of threads."""
        device = check_device(self.device)
        set_threads(self.threads)
        return load_teacher(
            model, arch=self.arch, input_size=self.input_size, mean=self.mean, std=self.std,
            weights=self.weights, device=device, allow_pickle=self.allow_pickle,
        )  # fmt: skip


def set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if threads < 1:
        raise DfqError(f"--threads {threads}", "at least 1", "leave it out to use all cores")
    torch.set_num_threads(threads)


def check_device(name: str) -> str:
    """The name, if torch can compute there now."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
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
    """One decorator out of several `click.option`s, shown in this order."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


threads_option = click.option("--threads", type=int, metavar="N", help="CPU threads.  [default: all cores]")
arch_option = click.option(
    "--arch", metavar="NAME", type=Architecture(), help=f"{ARCH_HELP}.  [default: what the checkpoint says]"
)
data_option = click.option(
    "--data", type=click.Path(path_type=Path), metavar="LABELLED",
    help="Labelled images to report accuracy on, and for nothing else: a folder with one sub-folder per class, or an "
    ".npz with 'images' (uint8, N×H×W×C) and 'labels'.  [default: none]",
)  # fmt: skip
seed_option = click.option(
    "--seed", type=int, default=0, metavar="N", show_default=True, help="Seed of every random draw."
)

strict_option = click.option(
    "--strict", is_flag=True,
    help="Fail before any work where less than 90 % of the multiply–accumulates would be on integers, or a layer with "
    "weights was not recognised.  [default: off]",
)  # fmt: skip

model_options = _stack(
    [
        arch_option,
        click.option("--input-size", type=Parsed("CxHxW", parse_size), metavar="CxHxW",
                     help="Image size, for example 3x32x32.  [default: the checkpoint's, else the published one]"),
        click.option("--mean", type=Parsed("numbers", parse_numbers), metavar="M,M,M",
                     help="Mean per channel for pixels in 0…1; one number stands for all.  [default: as --input-size]"),
        click.option("--std", type=Parsed("numbers", parse_numbers), metavar="S,S,S",
                     help="Standard deviation per channel; one number stands for all.  [default: as --input-size]"),
        click.option("--weights", metavar="KEY",
                     help="Which of several weights in the file: a key such as state_dict or model_ema, or the first "
                     "part of the names inside.  [default: the averaged ones (EMA), else the only ones]"),
        click.option("--device", default="cpu", metavar="NAME", show_default=True,
                     help="Where to compute: cpu, cuda, cuda:1."),
        threads_option,
        click.option("--allow-pickle", is_flag=True,
                     help="Read pickled Python objects. This RUNS CODE FROM THE FILE: only for files whose maker you "
                     "trust.  [default: off]"),
    ]
)  # fmt: skip

scheme_options = _stack(
    [
        click.option("--target", type=Named("target", TARGETS, "see --help"), default=DEFAULT_TARGET, metavar="NAME",
                     help=f"Runtime that the ONNX file is for: {', '.join(TARGETS)}.", show_default=True),
        click.option("--weight-bits", type=int, metavar="N", help="Bits of weights.  [default: --bits]"),
        click.option("--activation-bits", type=int, metavar="N", help="Bits of activations.  [default: --bits]"),
        click.option("--scheme", type=Named("scheme", SCHEMES, "see --help"), default="deploy", show_default=True,
                     metavar="NAME", help="What is quantized: deploy (all that an integer runtime needs), or a "
                     "protocol of the papers, paper-qat or paper-ptq."),
        click.option("--layer-bits", type=Parsed("name=bits", parse_layer_bits), multiple=True, metavar="NAME=BITS",
                     help="Other bits for one layer and the tensor it reads; repeatable.  [default: none]"),
    ]
)  # fmt: skip

bits_options = _stack(
    [
        click.option("--bits", type=int, default=8, show_default=True, metavar="N",
                     help="Bits of weights and activations, 2 to 8."),
        scheme_options,
    ]
)  # fmt: skip

mixed_bits_options = _stack(
    [
        click.option("--bits", type=Parsed("N or mixed", parse_bits), default=8, show_default=True, metavar="N",
                     help="Bits of weights and activations, 2 to 8. Or mixed: each layer's weight gets the width that "
                     "it needs, within --average-bits or --target-size, and activations have 8 bits unless "
                     "--activation-bits says otherwise."),
        click.option("--average-bits", type=float, metavar="N",
                     help="With --bits mixed: bits per weight, on average over the network, at most.  [default: none]"),
        click.option("--target-size", type=Parsed("size", parse_bytes), metavar="SIZE",
                     help="With --bits mixed: size of the ONNX file, at most, for example 1.2MB or 900kB (decimal).  "
                     "[default: none]"),
        scheme_options,
    ]
)  # fmt: skip

flip_option = click.option(
    "--flip/--no-flip", default=True, show_default=True,
    help="Mirrored images mean the same. Switch off for digits, letters, traffic signs.",
)  # fmt: skip
budget_option = click.option(
    "--budget", type=Parsed("time", parse_duration), metavar="TIME",
    help="Time limit, for example 90s, 5m, 1.5h.  [default: none]",
)  # fmt: skip

image_options = _stack(
    [
        flip_option,
        click.option("--images", type=int, metavar="N",
                     help="Synthetic images.  [default: instant 32, others 1024 (256 at 8 bits); above 64 pixels 128, "
                          "reconstruct 512]"),
        budget_option,
    ]
)  # fmt: skip

synthesis_options = _stack(
    [
        click.option("--method", type=Named("method", (AUTO, *METHODS), "see `dfq methods`"), default=AUTO,
                     show_default=True, metavar="NAME",
                     help="How images are made and the student is trained: see `dfq methods`."),
        image_options,
        seed_option,
    ]
)  # fmt: skip

training_options = _stack(
    [
        click.option("--ranges", type=Named("ranges", RANGES, "see --help"), metavar="NAME",
                     help="How grids are fitted before training: mse, percentile or minmax.  "
                     "[default: minmax for the methods whose papers have it, else mse]"),
        click.option("--steps", type=int, metavar="N",
                     help="Training steps.  [default: 600 at 2 and 3 bits, 400 at 4 to 7, 200 at 8; "
                     "for reconstruct above 64 pixels 0]"),
    ]
)  # fmt: skip


def take_model_options(values: dict[str, Any]) -> ModelOptions:
    """Moves the values of `model_options` out of a command's keywords."""
    return ModelOptions(**{field.name: values.pop(field.name) for field in fields(ModelOptions)})


def take_settings(values: dict[str, Any]) -> Settings:
    """Moves the values of the settings' options out of a command's keywords, and checks them together."""
    given = {field.name: values.pop(field.name) for field in fields(Settings) if field.name in values}
    if "layer_bits" in given:
        given["layer_bits"] = dict(given["layer_bits"])
    return Settings(**given)
