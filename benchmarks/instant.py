"""What post-training without learning should consist of, decided on synthetic images alone: no real image is opened.

    python benchmarks/instant.py --data ../shared/data [--nets resnet20,resnet56] [--bits 4] [--show] [--threads N]

Every variant that `VARIANTS` lists, per network and width (`deploy`), judged by agreement with the teacher on mixtures
of held-out plausible images. Biases are corrected, and ranges measured, on other images of the same set. A finished
cell is never run again. What the chosen row does on real images stands in profile `instant` of `accuracy.py`.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import click
import numpy as np
import torch
from image_sets import image_set
from nets import NETS, Data
from rich import box
from rich.console import Console
from rich.table import Table
from torch import fx

from dfq.calibration import METHODS
from dfq.evaluation.drop_estimate import HeldOutEvidence
from dfq.post_training.batch_norm_bias_correction import correct_from_moments
from dfq.post_training.batch_norm_ranges import calibrate_from_moments
from dfq.post_training.bias_correction import correct_biases
from dfq.post_training.equalization.cross_layer import equalize
from dfq.post_training.squant import round_weights
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate

IMAGES = {"resnet20": 128, "resnet56": 128, "mobilenet_v1_0.25": 64, "mobilenet_v2": 64}
SKETCHES = 32
MIXTURES = {32: 512, 224: 128}  # by the side of an image
BITS = (4, 6, 8)


@torch.no_grad()
def clip_weights(student: fx.GraphModule) -> None:
    """Weights beyond their grid become its ends, so that SQuant does not see their errors."""
    for layer, quantizer in weight_quantizers(student).items():
        weight = student.get_submodule(layer).weight
        scale, zero_point = (p.view(-1, *[1] * (weight.dim() - 1)) for p in quantizer.qparams())
        low, high = (quantizer.spec.q_min - zero_point) * scale, (quantizer.spec.q_max - zero_point) * scale
        weight.copy_(torch.minimum(torch.maximum(weight, low), high))


def round_without_clipped(student: fx.GraphModule) -> None:
    clip_weights(student)
    round_weights(student)


ROUNDINGS = {
    "nearest": lambda student: None,
    "SQuant": round_weights,
    "SQuant, clipped left out": round_without_clipped,
}


def corrected(source: str, *, match_spread: bool) -> Callable:
    """Of the student's biases, on "plausible" images or "sketches"."""

    def correct(student: fx.GraphModule, reference: fx.GraphModule, bench: "Bench") -> None:
        correct_biases(student, reference, bench.images[source], match_spread=match_spread)

    return correct


def drawn(*, match_spread: bool) -> Callable:
    """Of the student's biases, on maps drawn from BatchNorm's parameters."""

    def correct(student: fx.GraphModule, reference: fx.GraphModule, bench: "Bench") -> None:
        correct_from_moments(student, reference, bench.teacher.input_spec, match_spread=match_spread)

    return correct


CORRECTIONS: dict[str, Callable] = {
    "none": lambda student, reference, bench: None,
    "means": corrected("plausible", match_spread=False),
    "means and spread": corrected("plausible", match_spread=True),
    "means and spread, on sketches": corrected("sketches", match_spread=True),
    "means, on draws": drawn(match_spread=False),
    "means and spread, on draws": drawn(match_spread=True),
}


@dataclass(frozen=True)
class Variant:
    """One way; the fields name what is done, in the order in which it is done.

    Attributes:
        equalized: cross-layer equalization where it is worth something. (Rows from before 29 November 2026 equalized
            every pair without ReLU6, by the ranges that BatchNorm predicts.)
        ranges: rule that fits the grids.
        activations: where the ranges of activations come from: BatchNorm's "moments", or "images".
        rounding: key of `ROUNDINGS`.
        correction: key of `CORRECTIONS`.
    """

    equalized: bool
    ranges: str
    activations: str
    rounding: str
    correction: str

    @property
    def name(self) -> str:
        equalized = "equalized, " if self.equalized else ""
        corrected = "" if self.correction == "none" else f", {self.correction}"
        return f"{equalized}{self.ranges} {self.activations}, {self.rounding}{corrected}"


NAIVE = Variant(False, "minmax", "images", "nearest", "none")
ON_IMAGES = ("none", "means", "means and spread")
VARIANTS = (
    NAIVE,
    *(Variant(False, "mse", "moments", *parts) for parts in product(ROUNDINGS, ON_IMAGES)),
    *(Variant(False, "mse", "images", "SQuant", correction) for correction in ON_IMAGES),
    *(
        Variant(equalized, "mse", "moments", "SQuant", c)
        for c in CORRECTIONS
        if c not in ON_IMAGES
        for equalized in (False, True)
    ),
    *(
        Variant(True, "mse", "moments", *parts)
        for parts in product(("nearest", "SQuant"), ("none", "means and spread"))
    ),
    Variant(True, "mse", "moments", "SQuant", "means"),
    Variant(True, "mse", "images", "SQuant", "means and spread"),
)
KEYS = ("net", "bits", *Variant.__dataclass_fields__)


class Bench:
    """One network with its images and jury."""

    def __init__(self, data: Data, net: str):
        self.net, self.teacher = net, data.teacher(net)
        images = image_set(self.teacher, net, IMAGES[net])
        fitted, held_out = images.split(len(images) // 2)
        sketches = image_set(self.teacher, net, SKETCHES, method=METHODS["instant"])
        self.images = {"plausible": fitted.images, "sketches": sketches.images}
        mixtures = MIXTURES[max(self.teacher.input_spec.size[1:])]
        self.jury = HeldOutEvidence(self.teacher, held_out.images, mixtures=mixtures)
        self.calibrated = lru_cache(self._calibrated)

    @torch.no_grad()
    def _calibrated(self, bits: int, equalized: bool, ranges: str, activations: str):
        """(student, the reference that its layers are corrected to); shared by the variants that begin like this."""
        student = make_student(self.teacher, make_scheme("deploy", bits=bits)).eval()
        teacher = equalize(student, self.teacher, self.images["sketches"]) if equalized else self.teacher
        if activations == "images":
            calibrate(student, self.images["plausible"], ranges=ranges)
        else:
            unknown = calibrate_from_moments(student, self.teacher.input_spec, ranges=ranges)
            assert not unknown, f"{unknown} are not behind any BatchNorm: give them ranges on images"
        return student, teacher.traced

    def run(self, bits: int, variant: Variant) -> dict:
        """One row."""
        calibrated, reference = self.calibrated(bits, variant.equalized, variant.ranges, variant.activations)
        student = copy.deepcopy(calibrated)
        ROUNDINGS[variant.rounding](student)
        CORRECTIONS[variant.correction](student, reference, self)
        return {
            **dict(zip(KEYS, (self.net, bits, *astuple(variant)), strict=True)),
            "evidence": self.jury.measure(student).to_dict(),
        }


def table(rows: list[dict]) -> Table:
    """Variants × (network, bits); the best mean over the columns first, those that lack a cell last."""
    columns = sorted({(row["net"], row["bits"]) for row in rows}, key=lambda c: (list(NETS).index(c[0]), -c[1]))
    found = {tuple(row[key] for key in KEYS): row["evidence"]["mixed_agreement"] for row in rows}
    view = Table(title="agreement with the teacher on mixtures of held-out synthetic images, %", box=box.SIMPLE_HEAD)
    view.add_column("variant", no_wrap=True)
    for net, bits in columns:
        view.add_column(f"{net.replace('resnet', 'R').replace('mobilenet_', 'M')} W{bits}", justify="right")
    view.add_column("mean", justify="right")
    lines = []
    for variant in VARIANTS:
        figures = [100 * found.get((*column, *astuple(variant)), np.nan) for column in columns]
        if not np.isnan(figures).all():
            lines.append((variant.name, [*figures, np.mean(figures)]))
    for name, figures in sorted(lines, key=lambda line: -np.nan_to_num(line[1][-1])):
        view.add_row(name, *("" if np.isnan(f) else f"{f:.1f}" for f in figures))
    return view


def read_rows(out: Path) -> list[dict]:
    return json.loads(out.read_text())["rows"] if out.exists() else []


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/instant.json"))
@click.option("--nets", default="resnet20,resnet56,mobilenet_v1_0.25", show_default=True)
@click.option("--bits", default=",".join(map(str, BITS)), show_default=True)
@click.option("--show", is_flag=True, help="print the table of finished cells and stop")
@click.option("--threads", default=2, show_default=True)
def main(data: Path, out: Path, nets: str, bits: str, show: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    console = Console(width=150)
    for net in () if show else nets.split(","):
        bench = Bench(Data(data), net)
        for width, variant in product(map(int, bits.split(",")), VARIANTS):
            done = {tuple(row[key] for key in KEYS) for row in read_rows(out)}
            if (net, width, *astuple(variant)) in done:
                continue
            row = bench.run(width, variant)
            environment = {"versions": versions(), "hardware": hardware(bench.teacher.device)}
            write_json(out, {"rows": [*read_rows(out), row], **environment})  # read again: others may have added cells
            console.print(f"{net} W{width} {variant.name}: {row['evidence']}", soft_wrap=True)
    console.print(table(read_rows(out)))


if __name__ == "__main__":
    main()
