"""Do held-out synthetic images tell what a student lost? Predicted against true change over many students.

    python benchmarks/estimate.py --data ../shared/data [--nets resnet20,resnet56] [--images 512] [--show]

Students of very different quality: widths × schemes × how they were made (ranges only; SQuant rounding, with bias
correction; a short reconstruction). A finished cell is never run again. Each network is predicted by a fit over the
other ones, so that the error is that of a network which the fit has not seen; `--show` prints the constants over all,
which stand in `dfq/estimate.py`.
"""

import json
from pathlib import Path

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from nets import NETS, Data
from rich.console import Console

from dfq.batch import Batch
from dfq.budget import Budget
from dfq.calibrate import calibrate
from dfq.convert import quantize
from dfq.estimate import Evidence, fit_estimate, measure_evidence
from dfq.pictures import BLUE, FAINT, ORANGE, dress, save
from dfq.post_training import Bench, CorrectBiases, PostTraining, Reconstruct, RoundWeights
from dfq.progress import Silent
from dfq.reconstruction import FitSettings
from dfq.report import hardware, versions
from dfq.run_folder import write_json
from dfq.settings import Settings
from dfq.teacher import Teacher

MADE: dict[str, tuple[PostTraining, ...]] = {
    "ranges": (),
    "SQuant": (RoundWeights(),),
    "SQuant, corrected": (RoundWeights(), CorrectBiases()),
    "reconstruction": (Reconstruct(FitSettings(iterations=40)),),
}
FORMATS = [(scheme, bits) for scheme in ("deploy", "paper-qat") for bits in (6, 4, 3, 2)]
KEYS = ("net", "scheme", "bits", "made")


def run(data: Data, net: str, teacher: Teacher, images: Batch, scheme: str, bits: int, made: str) -> dict:
    """One student: what synthetic images say, and what is true."""
    fitted, held_out = images.split(len(images) // 4)
    student = calibrate(quantize(teacher, Settings(bits=bits, scheme=scheme).make_scheme()), fitted.images[:256]).eval()
    bench = Bench(student, teacher, fitted.images, Budget(), Silent(), 0, None)
    for step in MADE[made]:
        step(bench)
    labelled = data.labelled(net, teacher)
    return {
        "net": net, "scheme": scheme, "bits": bits, "made": made, "classes": teacher.num_classes,
        "evidence": measure_evidence(student, teacher, held_out.images).to_dict(),
        "disagreement": 1 - data.agreement(net, teacher, student),
        "drop": accuracy(teacher, teacher, labelled) - accuracy(student, teacher, labelled),
    }  # fmt: skip


@torch.no_grad()
def accuracy(network, teacher: Teacher, labelled) -> float:
    right = 0
    for start in range(0, len(labelled.images), 250):
        pixels = torch.from_numpy(labelled.images[start : start + 250]).permute(0, 3, 1, 2).float() / 255
        answers = network(teacher.input_spec.normalize(pixels.to(teacher.device))).argmax(1).cpu().numpy()
        right += int((answers == labelled.labels[start : start + 250]).sum())
    return right / len(labelled.images)


def predictions(rows: list[dict]) -> np.ndarray:
    """Of each row's drop, by a fit over the other networks' rows; (N,)."""
    found = np.zeros(len(rows))
    for net in {row["net"] for row in rows}:
        others = [row for row in rows if row["net"] != net] or rows
        estimate = fit_estimate([(Evidence(**r["evidence"]), r["drop"]) for r in others])
        for index, row in enumerate(rows):
            if row["net"] == net:
                found[index] = estimate.drop(Evidence(**row["evidence"]))
    return found


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


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--nets", default="resnet20,resnet56", show_default=True)
@click.option("--images", default=512, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/estimate.json"))
@click.option("--show", is_flag=True, help="print the fit and stop")
@click.option("--threads", default=2, show_default=True)
def main(data: Path, nets: str, images: int, out: Path, show: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    console, shared = Console(), Data(data)
    content = json.loads(out.read_text()) if out.exists() else {"rows": []}
    done = {tuple(row[key] for key in KEYS) for row in content["rows"]}
    for net in () if show else nets.split(","):
        assert net in NETS, net
        cells = [(net, *form, made) for form in FORMATS for made in MADE if (net, *form, made) not in done]
        if not cells:
            continue
        teacher = shared.teacher(net)
        batch = Settings(method="zeroq-kd").make_synthesizer(teacher, None, None).sample(images)
        for cell in cells:
            content["rows"].append(run(shared, net, teacher, batch, *cell[1:]))
            write_json(out, {**content, "versions": versions(), "hardware": hardware(teacher.device)})
    rows = content["rows"]
    true, predicted = np.array([row["drop"] for row in rows]), predictions(rows)
    estimate = fit_estimate([(Evidence(**row["evidence"]), row["drop"]) for row in rows])
    console.print(f"{len(rows)} students; mean absolute error {100 * np.abs(true - predicted).mean():.2f} points")
    small = predicted < 0.1
    console.print(f"predicted under 10 points: {small.sum()}, error {100 * np.abs(true - predicted)[small].mean():.2f}")
    console.print(estimate)
    picture(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    main()
