"""Mixed precision against one width for all layers: ResNet-20, weights of few bits, activations of 8 (`deploy`).

    python benchmarks/mixed.py --data ../shared/data [--method reconstruct] [--seeds 1] [--show] [--threads N]

Every cell is a run of `dfq quantize` on the same images; accuracy and size are those of its ONNX file. The file stores
widths of up to 4 bits in 4, so bits per weight, not bytes, is the axis of `results/mixed.png`: above what was measured,
below what the sensitivities predict. Real images are opened to report. A finished cell is never run again, a killed one
goes on.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree

import click
import numpy as np
import torch
from image_sets import image_set
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from nets import Data
from rich import box
from rich.console import Console
from rich.table import Table

from dfq.calibration import METHODS, Method
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import MIXED, Settings
from dfq.mixed_precision import AverageBits
from dfq.post_training.steps_after_ranges import Reconstruct
from dfq.quantizers.scheme import make_scheme
from dfq.results.plots import BLUE, DPI, FAINT, INK, dress, save
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.teacher import Teacher

NET, SCHEME = "resnet20", "deploy"
WORK = Path("benchmarks/work")  # run folders of unfinished cells; not under version control
UNIFORM, AVERAGES = (3, 4), (3.0, 3.5, 4.0, 4.5)


@dataclass(frozen=True)
class Cell:
    """One point: `bits` of every weight, or of the average weight where `mixed`; and the work that is done."""

    mixed: bool
    bits: float
    method: str
    seed: int
    images: int
    iterations: int
    steps: int

    @property
    def name(self) -> str:
        return f"{'mixed' if self.mixed else 'uniform'} {self.bits:g} {self.method} seed {self.seed}"

    def settings(self) -> Settings:
        widths = {"bits": MIXED, "average_bits": self.bits} if self.mixed else {"weight_bits": int(self.bits)}
        common = {"scheme": SCHEME, "seed": self.seed, "images": self.images, "steps": self.steps}
        return Settings(**widths, **common, method=self._method())

    def _method(self) -> Method:
        """The row, whose blocks are fitted for as many iterations as the cell says."""
        row = METHODS[self.method]
        steps = [
            replace(step, settings=replace(step.settings, iterations=self.iterations))
            if isinstance(step, Reconstruct) else step
            for step in row.post_training
        ]  # fmt: skip
        return replace(row, post_training=tuple(steps))


class Bench(Data):
    """How a cell is run."""

    def run(self, cell: Cell) -> dict:
        teacher, folder = self.teacher(NET), WORK / f"mixed-{'-'.join(map(str, asdict(cell).values()))}"
        result = quantize_model(
            teacher, folder, cell.settings(), labelled=self.labelled(NET, teacher),
            batch=image_set(teacher, NET, cell.images, seed=cell.seed), resume=folder.exists(),
        )  # fmt: skip
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
    """Bits per weight where the first and the last layer have their 8."""
    target = AverageBits(teacher, make_scheme(SCHEME), 8)
    return target.shown(target.cost(dict.fromkeys(target.layers.free, bits)))


def groups_of(rows: list[dict]) -> list[list[dict]]:
    """The rows of each point, over the seeds; the fewest bits first."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        found.setdefault((row["mixed"], row["bits"]), []).append(row)
    return sorted(found.values(), key=lambda group: group[0]["average_bits"])


def drops(group: list[dict]) -> list[float]:
    return [100 * (row["accuracy"]["teacher"] - row["accuracy"]["onnx"]) for row in group]


def table(rows: list[dict]) -> Table:
    view = Table(title=f"{NET} {SCHEME}, activations 8 bits; accuracy of the ONNX file", box=box.SIMPLE_HEAD)
    for column in ("weights", "bits per weight", "seeds", "drop, points", "agreement, %", "kB"):
        view.add_column(column, justify="left" if column == "weights" else "right")
    for group in groups_of(rows):
        first = group[0]
        view.add_row(
            f"{'mixed' if first['mixed'] else 'uniform'} {first['bits']:g}", f"{first['average_bits']:.3f}",
            str(len(group)), f"{np.mean(drops(group)):.2f}",
            f"{np.mean([100 * row['train_agreement'] for row in group]):.2f}",
            f"{first['size_bytes']['onnx'] / 1000:.0f}",
        )  # fmt: skip
    return view


def picture(rows: list[dict], path: Path) -> None:
    """Above, disagreement with the teacher on real images; below, the front that the sensitivities predict."""
    figure = Figure(figsize=(5.6, 6), dpi=DPI, facecolor="white", layout="constrained")
    measured, predicted = figure.subplots(2, 1, sharex=True)
    _draw_measured(measured, rows)
    _draw_predicted(predicted, rows)
    save(figure, path)


def _draw_measured(axes: Axes, rows: list[dict]) -> None:
    for mixed, colour, marker, label in ((True, BLUE, "o-", "mixed"), (False, FAINT, "s", "one width for all")):
        groups = [group for group in groups_of(rows) if group[0]["mixed"] == mixed]
        if not groups:
            continue
        bits = [group[0]["average_bits"] for group in groups]
        lost = [[100 * (1 - row["train_agreement"]) for row in group] for group in groups]
        deviations = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in lost]
        axes.errorbar(bits, [np.mean(values) for values in lost], deviations, fmt=marker, color=colour, capsize=3,
                      markersize=5, linewidth=1.2, label=label)  # fmt: skip
    dress(axes, "measured: other answers than the teacher on 10,000 real images, %", "", "%")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_predicted(axes: Axes, rows: list[dict]) -> None:
    chosen = [row for row in rows if row["front"]]
    if chosen:
        low, high = (f(row["average_bits"] for row in rows) for f in (min, max))
        front = [p for p in chosen[0]["front"] if low - 0.2 <= p["cost"] <= high + 0.2]
        axes.step(
            [p["cost"] for p in front], [p["sensitivity"] for p in front], where="post", color=BLUE, linewidth=1.2
        )
        uniform = [p for p in chosen[0]["uniform"].values() if low - 0.2 <= p["cost"] <= high + 0.2]
        axes.plot([p["cost"] for p in uniform], [p["sensitivity"] for p in uniform], "s", color=FAINT, markersize=5)
    dress(axes, "predicted: sum of sensitivities, nats", "bits per weight, average", "nats")
    axes.set_yscale("log")


def read_rows(out: Path) -> list[dict]:
    return json.loads(out.read_text()) if out.exists() else []


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/mixed.json"))
@click.option("--method", type=click.Choice(list(METHODS)), default="reconstruct", show_default=True)
@click.option("--seeds", default=1, show_default=True)
@click.option("--images", default=512, show_default=True)
@click.option("--iterations", default=1600, show_default=True, help="per block, where the method reconstructs")
@click.option("--steps", default=300, show_default=True)
@click.option("--show", is_flag=True, help="print the table, draw the picture and stop")
@click.option("--threads", default=2, show_default=True)
def main(data: Path, out: Path, method: str, seeds: int, show: bool, threads: int, **work: int) -> None:
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
