"""Do held-out synthetic images tell what a student lost? Predicted against true change over many students.

    python benchmarks/estimate.py --data ../shared/data [--nets resnet20,resnet56] [--untrained] [--show] [--threads N]

Students of very different quality: widths × schemes × how they were made (ranges only; SQuant rounding, with bias
correction; a short reconstruction, unless --untrained). A finished cell is never run again. Each network is predicted
by a fit over the other ones, so that the error is that of a network which the fit has not seen; drops are fitted as
shares of the teacher's accuracy, and shown in points. `--show` prints the constants over all, which stand in
`dfq/evaluation/drop_estimate.py`.
"""

import json
from pathlib import Path

import click
import numpy as np
import torch
from image_sets import image_set
from matplotlib.figure import Figure
from nets import NETS, Data, accuracy_on
from rich import box
from rich.console import Console
from rich.table import Table

from dfq.evaluation.drop_estimate import Estimate, Evidence, HeldOutEvidence, fit_estimate
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import CorrectBiases, PostTraining, Reconstruct, RoundWeights, StepContext
from dfq.results.plots import BLUE, FAINT, ORANGE, dress, save
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget
from dfq.system.progress import Silent

MADE: dict[str, tuple[PostTraining, ...]] = {
    "ranges": (),
    "SQuant": (RoundWeights(),),
    "SQuant, corrected": (RoundWeights(), CorrectBiases()),
    "reconstruction": (Reconstruct(FitSettings(iterations=40), large=FitSettings(iterations=20)),),
}
SCHEMES = ("deploy", "paper-qat")
SMALL = tuple((scheme, bits) for scheme in SCHEMES for bits in (6, 4, 3, 2))
LARGE = tuple(("deploy", bits) for bits in (8, 6, 5, 4))
CELLS = {  # network → (formats, synthetic images)
    "resnet20": (SMALL, 512),
    "resnet56": (tuple(("deploy", bits) for bits in (4, 3, 6, 2)), 128),
    "mobilenet_v1_0.25": (LARGE, 64),
    "mobilenet_v2": (LARGE, 64),
}
HELD_OUT = 128  # images, or half of them where there are fewer
SMALL_DROP = 0.1
KEYS = ("net", "scheme", "bits", "made")


class Judged:
    """One network with its synthetic images, and the labelled ones that the drop is measured on."""

    def __init__(self, data: Data, net: str):
        self.net, self.teacher = net, data.teacher(net)
        images = image_set(self.teacher, net, CELLS[net][1])
        self.fitted, held_out = images.split(min(HELD_OUT, len(images) // 2))
        self.jury = HeldOutEvidence(self.teacher, held_out.images)
        self.accuracy_of = accuracy_on(data.labelled(net, self.teacher), self.teacher)
        self.accuracy = self.accuracy_of(self.teacher)

    def run(self, scheme: str, bits: int, made: str) -> dict:
        """One student: what synthetic images say, and what is true."""
        images = self.fitted.images
        student = make_student(self.teacher, Settings(bits=bits, scheme=scheme).make_scheme())
        calibrate(student, images[:256]).eval()
        for step in MADE[made]:
            step(StepContext(student, self.teacher, images, Budget(), Silent(), 0, None))
        return {
            "net": self.net, "scheme": scheme, "bits": bits, "made": made, "classes": self.teacher.num_classes,
            "evidence": self.jury.measure(student).to_dict(),
            "teacher_accuracy": self.accuracy,
            "drop": self.accuracy - self.accuracy_of(student),
        }  # fmt: skip


def predictions(rows: list[dict]) -> np.ndarray:
    """Of each row's drop, a fraction of all images, by a fit over the other networks' rows; (N,)."""
    found = np.zeros(len(rows))
    for net in {row["net"] for row in rows}:
        others = [row for row in rows if row["net"] != net] or rows
        estimate = fit(others)
        for index, row in enumerate(rows):
            if row["net"] == net:
                found[index] = estimate.drop(Evidence(**row["evidence"])) * row["teacher_accuracy"]
    return found


def fit(rows: list[dict]) -> Estimate:
    return fit_estimate([(Evidence(**row["evidence"]), row["drop"] / row["teacher_accuracy"]) for row in rows])


def picture(rows: list[dict], path: Path) -> None:
    figure = Figure(figsize=(5.2, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    true, predicted = 100 * np.array([row["drop"] for row in rows]), 100 * predictions(rows)
    for net, colour in zip(
        dict.fromkeys(row["net"] for row in rows), (BLUE, ORANGE, "#1b7837", "#762a83"), strict=False
    ):
        chosen = [row["net"] == net for row in rows]
        axes.plot(predicted[chosen], true[chosen], "o", markersize=5, color=colour, alpha=0.8, label=net)
    axes.axline((0, 0), slope=1, color=FAINT, linewidth=1, linestyle=":")
    axes.legend(frameon=False)
    dress(axes, "drop of accuracy, points", "predicted without any real image", "true")
    save(figure, path)


def errors(rows: list[dict]) -> Table:
    """Mean absolute error in points of accuracy: of each network, predicted from the others, and of all."""
    true, predicted = np.array([row["drop"] for row in rows]), predictions(rows)
    nets = np.array([row["net"] for row in rows])
    view = Table(title="predicted drop, by a fit over the other networks", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("network", "students", "error", "predicted below 10 points", "error"):
        view.add_column(column, justify="left" if column == "network" else "right")
    for net in (*dict.fromkeys(nets), "all"):
        chosen = (nets == net) | (net == "all")
        small = chosen & (predicted < SMALL_DROP)
        figures = [
            f"{100 * np.abs(true - predicted)[which].mean():.2f}" if which.any() else "" for which in (chosen, small)
        ]
        view.add_row(net, str(chosen.sum()), figures[0], str(small.sum()), figures[1])
    return view


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--nets", default="resnet20,resnet56,mobilenet_v1_0.25", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/estimate.json"))
@click.option("--untrained", is_flag=True, help="leave the reconstructed students out: seconds instead of minutes each")
@click.option("--show", is_flag=True, help="print the fit and stop")
@click.option("--threads", default=2, show_default=True)
def main(data: Path, nets: str, out: Path, untrained: bool, show: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    console, shared = Console(), Data(data)
    for net in () if show else nets.split(","):
        assert net in NETS, net
        done = {tuple(row[key] for key in KEYS) for row in read_rows(out)}
        made = [
            name for name, steps in MADE.items() if not (untrained and any(isinstance(s, Reconstruct) for s in steps))
        ]
        cells = [(*form, name) for form in CELLS[net][0] for name in made if (net, *form, name) not in done]
        judged = Judged(shared, net) if cells else None
        for cell in cells:
            row = judged.run(*cell)
            environment = {"versions": versions(), "hardware": hardware(judged.teacher.device)}
            write_json(out, {"rows": [*read_rows(out), row], **environment})  # read again: others may have added cells
            console.print(f"{net} {cell}: far agreement {row['evidence']['far_agreement']:.3f}, drop {row['drop']:.3f}")
    rows = read_rows(out)
    console.print(errors(rows))
    console.print(fit(rows))
    picture(rows, out.with_suffix(".png"))


def read_rows(out: Path) -> list[dict]:
    return json.loads(out.read_text())["rows"] if out.exists() else []


if __name__ == "__main__":
    main()
