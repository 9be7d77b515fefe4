"""Finds out what post-training without learning should consist of, on synthetic images alone: no real image is opened.

    python -m benchmarks.instant.run --data ../shared/data [--nets resnet20,resnet56] [--bits 4] [--show] [--threads N]

Every variant that `variants.py` lists is run for each network and width (scheme `deploy`), and judged by the agreement
with the teacher on mixtures of held-out plausible images. Biases are corrected, and ranges measured, on other images of
the same set. A finished cell is never run again. What the chosen row does on real images stands in the profile
`instant` of `benchmarks.accuracy.run`.
"""

import copy
import json
from dataclasses import astuple
from functools import lru_cache
from itertools import product
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks.common.image_sets import image_set
from benchmarks.common.nets import Data
from benchmarks.common.options import data_option, out_option, show_option, threads_option
from benchmarks.instant.table import table
from benchmarks.instant.variants import CORRECTIONS, KEYS, ROUNDINGS, VARIANTS, Variant
from dfq.calibration import METHODS
from dfq.evaluation.held_out_evidence import HeldOutEvidence
from dfq.post_training.batch_norm_ranges import calibrate_from_moments
from dfq.post_training.equalization.cross_layer import equalize
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate

# Plausible images of each network; half of them are held out.
IMAGES = {"resnet20": 128, "resnet56": 128, "mobilenet_v1_0.25": 64, "mobilenet_v2": 64}
SKETCHES = 32  # images made as the method `instant` makes them
MIXTURES = {32: 512, 224: 128}  # the number of them, by the side of an image
BITS = (4, 6, 8)


class Bench:
    """Runs the variants of one network, whose images and jury are made once."""

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
        """Returns a student, which variants that begin like this share, and the reference that it is corrected to."""
        student = make_student(self.teacher, make_scheme("deploy", bits=bits)).eval()
        teacher = equalize(student, self.teacher, self.images["sketches"]) if equalized else self.teacher
        if activations == "images":
            calibrate(student, self.images["plausible"], ranges=ranges)
        else:
            unknown = calibrate_from_moments(student, self.teacher.input_spec, ranges=ranges)
            assert not unknown, f"{unknown} are not behind any BatchNorm: give them ranges on images"
        return student, teacher.traced

    def run(self, bits: int, variant: Variant) -> dict:
        """Returns the row of a variant."""
        calibrated, reference = self.calibrated(bits, variant.equalized, variant.ranges, variant.activations)
        student = copy.deepcopy(calibrated)
        ROUNDINGS[variant.rounding](student)
        CORRECTIONS[variant.correction](student, reference, self.images, self.teacher.input_spec)
        return {
            **dict(zip(KEYS, (self.net, bits, *astuple(variant)), strict=True)),
            "evidence": self.jury.measure(student).to_dict(),
        }


def read_rows(out: Path) -> list[dict]:
    """Returns the rows of a file of results; none if there is no such file."""
    return json.loads(out.read_text())["rows"] if out.exists() else []


@click.command()
@data_option(what="checkpoints")
@out_option("instant.json")
@click.option(
    "--nets", default="resnet20,resnet56,mobilenet_v1_0.25", show_default=True, help="Quantize these networks."
)
@click.option(
    "--bits", default=",".join(map(str, BITS)), show_default=True, help="Give weights and activations these widths."
)
@show_option
@threads_option
def main(data: Path, out: Path, nets: str, bits: str, show: bool, threads: int) -> None:
    """Finds out what post-training without learning should consist of; no real image is opened."""
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
