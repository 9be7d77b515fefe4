"""Measures what images of networks without BatchNorm statistics are worth, cell by cell; a finished cell is kept.

    python -m benchmarks.without_statistics.run --data ../shared/data [--profile int8] [--only TEXT] [--show]

A network is exported to ONNX with its BatchNorm layers folded and read back, as a person would who has the file alone.
Each arm hands its images to the same method and settings. Students are judged by held-out evidence first: the deviation
of the images from the BatchNorm statistics that the file has lost, and the ratio of the student's logits on images that
were made from these statistics, which no arm sees. Labelled images are opened to report alone; the arm `real`, which
measures the ceiling, is calibrated on real images that are not among them.
"""

import time
from functools import lru_cache
from pathlib import Path
from shutil import rmtree

import click
import numpy as np
import torch
from rich.console import Console
from torch import nn

from benchmarks.common.cells import read_rows, run_cells, stop_after
from benchmarks.common.folded import folded
from benchmarks.common.image_sets import image_set
from benchmarks.common.nets import NETS, Data, normalized
from benchmarks.common.options import (
    data_option,
    minutes_option,
    only_option,
    out_option,
    profile_option,
    show_option,
    threads_option,
)
from benchmarks.without_statistics.images import REAL, STATISTICS, arm
from benchmarks.without_statistics.kept_images import kept_images
from benchmarks.without_statistics.profiles import OWN_METHODS, PROFILES, Cell, cells_of
from benchmarks.without_statistics.table import table
from dfq.calibration import METHODS
from dfq.evaluation.diversity import measure_diversity
from dfq.images.batch import Batch
from dfq.images.input_spec import is_large
from dfq.images.labelled import Labelled
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.results.report import hardware, versions
from dfq.teacher import Teacher

WORK = Path("benchmarks/work/without_statistics")
JUDGED = 128  # images on which students are judged, made from the statistics that the file has lost
JUDGED_LARGE = 16  # the same for images of more than 64 pixels a side
JURY_SEED = 99  # of these images
JUROR = "resnet56"  # has the statistics for networks that never had any; these were distilled from it
CALIBRATED_ON = 32  # the first real ones of the labelled images, for the arm `real`; no arm is measured on them


class Bench(Data):
    """Runs cells."""

    @lru_cache(maxsize=1)  # noqa: B019 (the bench lives as long as the process)
    def pair(self, net: str) -> tuple[Teacher, Teacher]:
        """Returns the network as it is, and as its ONNX file says, in which BatchNorm is folded."""
        whole = self.teacher(net)
        return whole, folded(whole, WORK / f"{net}.onnx")

    def run(self, cell: Cell) -> dict:
        """Returns the figures of a cell."""
        whole, file = self.pair(cell.net)
        teacher = whole if cell.images.startswith(STATISTICS) else file
        name = f"{cell.net} {cell.method} {cell.count} {cell.images} seed {cell.seed}".replace(" ", "-")
        batch, made = kept_images(WORK / "images" / name, teacher.input_spec, lambda: self._images(cell, teacher))
        settings = Settings(
            weight_bits=cell.weight_bits, activation_bits=cell.activation_bits, seed=cell.seed,
            method=OWN_METHODS.get(cell.method, cell.method),
            **PROFILES[cell.profile].settings,
        )  # fmt: skip
        folder = WORK / cell.name().replace(" ", "-")
        rmtree(folder, ignore_errors=True)
        start = time.process_time()
        labelled = self._labelled(cell.net, whole)
        result = quantize_model(teacher, folder, settings, RunOptions(labelled=labelled, batch=batch))
        deviation = measure_diversity(whole, batch).batch_norm_deviation
        row = {
            "accuracy": result.report["accuracy"],
            "labelled": len(labelled),
            "deviation": sum(deviation) / len(deviation) if deviation else None,
            "jury_snr_db": self._jury(cell.net, whole, result.student),
            "synthesis_cpu_seconds": made,
            "cpu_seconds": time.process_time() - start,
            "versions": versions(),
            "hardware": hardware(teacher.device),
        }
        rmtree(folder)
        return row

    def _images(self, cell: Cell, teacher: Teacher) -> Batch:
        """Returns the images of a cell: those of the method, real ones, or those of an arm."""
        if cell.images == REAL:
            pixels = np.load(self.folder / (NETS[cell.net].train or NETS[cell.net].test), allow_pickle=False)["images"]
            return Batch(normalized(teacher, pixels[: cell.count]).contiguous(memory_format=torch.channels_last))
        if cell.images != STATISTICS:
            return arm(cell.images)(teacher, cell.count, cell.seed)
        method = OWN_METHODS.get(cell.method, cell.method)
        settings = Settings(bits=cell.activation_bits, method=method, images=cell.count, seed=cell.seed)
        return settings.make_synthesizer(teacher).sample(cell.count)

    def _labelled(self, net: str, teacher: Teacher) -> Labelled:
        """Returns the labelled images; where the arm `real` has none of its own, without those that it takes."""
        labelled = self.labelled(net, teacher)
        if NETS[net].train is not None:
            return labelled
        return Labelled(labelled.images[CALIBRATED_ON:], labelled.labels[CALIBRATED_ON:])

    @torch.no_grad()
    def _jury(self, net: str, whole: Teacher, student: nn.Module) -> float:
        """Returns the student's signal-to-noise ratio on images that were made from statistics, in dB.

        For a network that never had any, they are made from those of another network for the same classes.
        """
        large = is_large(whole.input_spec.size)
        method, count = METHODS["instant" if large else "zeroq-kd"], JUDGED_LARGE if large else JUDGED
        other = net if whole.has_batch_norm else JUROR
        images = image_set(self.teacher(other), other, count, seed=JURY_SEED, method=method).images
        wanted, found = (torch.cat([network(part) for part in images.split(32)]) for network in (whole, student))
        return float(10 * torch.log10(wanted.square().sum() / (found - wanted).square().sum()))


@click.command()
@data_option()
@out_option("without_statistics.json")
@profile_option(PROFILES, default="int8")
@only_option
@show_option
@threads_option
@minutes_option
def main(data: Path, out: Path, profile: str, only: str, show: bool, threads: int, minutes: float | None) -> None:
    """Measures what images of networks without BatchNorm statistics are worth; a finished cell is never run again."""
    torch.set_num_threads(threads)
    console = Console()
    stop_after(minutes)
    if not show:
        for row in run_cells(cells_of(profile), out, only, Bench(data).run):
            console.print(f"{row['net']} {row['images']}: {row['accuracy']}, {row['jury_snr_db']} dB")
    console.print(table(profile, [row for row in read_rows(out) if row["profile"] == profile]))


if __name__ == "__main__":
    main()
