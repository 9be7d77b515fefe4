"""Measures mixed precision against one width for all layers, on ResNet-20 with activations of 8 bits (`deploy`).

    python -m benchmarks.mixed.run --data ../shared/data [--method reconstruct] [--seeds 1] [--show] [--threads N]

Every cell is a run of `dfq quantize` on the same images; accuracy and size are those of its ONNX file. The file stores
widths of up to 4 bits in 4, so bits per weight, not bytes, is the axis of `results/mixed.png`: its upper panel shows
what was measured, the lower one what the sensitivities predict. Real images are opened to report. A finished cell is
never run again, and a killed one goes on.
"""

from dataclasses import asdict
from pathlib import Path
from shutil import rmtree

import click
import torch
from rich.console import Console

from benchmarks.common.cells import read_rows
from benchmarks.common.image_sets import image_set
from benchmarks.common.nets import Data
from benchmarks.common.options import data_option, out_option, threads_option
from benchmarks.mixed.cell import NET, SCHEME, Cell
from benchmarks.mixed.plot import picture
from benchmarks.mixed.table import table
from dfq.calibration import METHODS
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.mixed_precision import AverageBits, Widths
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.teacher import Teacher

WORK = Path("benchmarks/work")  # run folders of unfinished cells; not under version control
UNIFORM = (3, 4)  # widths for all layers
AVERAGES = (3.0, 3.5, 4.0, 4.5)  # bits of the average weight, with mixed precision


class Bench(Data):
    """Runs cells."""

    def run(self, cell: Cell) -> dict:
        """Returns the row of a cell."""
        teacher, folder = self.teacher(NET), WORK / f"mixed-{'-'.join(map(str, asdict(cell).values()))}"
        result = quantize_model(
            teacher,
            folder,
            cell.settings(),
            options=RunOptions(
                labelled=self.labelled(NET, teacher),
                batch=image_set(teacher, NET, cell.images, seed=cell.seed),
                resume=folder.exists(),
            ),
        )
        choice = result.report["mixed_precision"]
        row = {
            **asdict(cell),
            "average_bits": choice["average_bits"] if choice else uniform_average(teacher, int(cell.bits)),
            **{key: result.report[key] for key in ("accuracy", "agreement", "evidence", "size_bytes", "seconds")},
            "train_agreement": self.agreement(NET, teacher, result.student),
            "widths": choice["widths"] if choice else None,
            "front": choice["front"] if choice else None,
            "uniform": choice["uniform"] if choice else None,
            "versions": versions(), "hardware": hardware(teacher.device),
        }  # fmt: skip
        rmtree(folder)
        return row


def uniform_average(teacher: Teacher, bits: int) -> float:
    """Returns the bits per weight where the first and the last layer have 8."""
    target = AverageBits(teacher, make_scheme(SCHEME), 8)
    return target.shown(target.cost(Widths(dict.fromkeys(target.layers.free, bits))))


@click.command()
@data_option()
@out_option("mixed.json")
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="reconstruct",
    show_default=True,
    help="Quantize by this method.",
)
@click.option("--seeds", default=1, show_default=True, help="Run each point with that many seeds.")
@click.option("--images", default=512, show_default=True, help="Learn from that many images.")
@click.option(
    "--iterations",
    default=1600,
    show_default=True,
    help="Fit each block for that many iterations, where the method reconstructs.",
)
@click.option("--steps", default=300, show_default=True, help="Train the whole student for that many steps.")
@click.option("--show", is_flag=True, help="Print the table, draw the picture and stop.")
@threads_option
def main(data: Path, out: Path, method: str, seeds: int, show: bool, threads: int, **work: int) -> None:
    """Measures mixed precision against one width for all layers; a finished cell is never run again."""
    torch.set_num_threads(threads)
    console, bench = Console(), Bench(data)
    points = [(False, bits) for bits in UNIFORM] + [(True, bits) for bits in AVERAGES]
    cells = [Cell(*point, method, seed, **work) for seed in range(seeds) for point in points]
    for cell in () if show else cells:
        if any({key: row[key] for key in asdict(cell)} == asdict(cell) for row in read_rows(out)):
            continue
        row = bench.run(cell)
        write_json(out, [*read_rows(out), row])  # read again: another process may have added cells
        console.print(f"{cell.name}: {row['accuracy']}, {row['train_agreement']:.4f}", soft_wrap=True)
    wanted = {"method": method, **work}
    rows = [row for row in read_rows(out) if {key: row[key] for key in wanted} == wanted]
    console.print(table(rows))
    picture(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    main()
