"""Draws the drop of accuracy of ResNet-20 against the time that it took, from the results of `benchmarks.accuracy.run`.

    python -m benchmarks.accuracy.plot

The axis has *core seconds*, the processor time of all threads, which other work on the machine and the number of
threads change little, unlike wall time. Rows from before it was recorded have wall time × threads instead, an upper
bound, which has an open marker. A run that was resumed knows the time of its last piece only; it counts for the drop,
not for the time. Where there are several seeds, points are means, and bars are standard deviations of the drop. The
lines show the same quantizer and training on real images.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dfq.results.plots import BLUE, DPI, FAINT, INK, ORANGE, dress, save

NET = "resnet20"
PANELS = (("deploy", 4), ("paper-qat", 3), ("paper-qat", 2))
REAL = {"real-1024": ("1024 real images", "--"), "real-10000": ("10,000 real images", ":")}
OWN = ("auto", "instant", "reconstruct")  # methods of this project, which are drawn in another colour
LINE = 10.0  # distance of two names, in points
NEAR = 90.0  # points of the picture that are as close as this keep that distance
MIN_SPAN = 8.0  # largest ÷ smallest time of an axis
SHORTEST_SYNTHESIS = 0.2  # seconds; a shorter one read the images that an earlier piece of a resumed run had made


@dataclass(frozen=True)
class Point:
    """A method at one format.

    Attributes:
        label: The name of the method, with the profile where the method has several.
        seconds: The core seconds of a run.
        drop: The drop of accuracy in points.
        deviation: The standard deviation of the drop over the seeds.
        measured: Whether the seconds are processor time; otherwise they are an upper bound.
    """

    label: str
    seconds: float
    drop: float
    deviation: float
    measured: bool


def points(rows: list[dict]) -> list[Point]:
    """Returns one point for each profile and method with a known time."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["profile"]), []).append(row)
    methods = [method for method, _ in groups]
    found = []
    for (method, profile), group in groups.items():
        times = [core_seconds(row) for row in group if is_whole(row)]
        if times:
            label = f"{method} ({profile})" if methods.count(method) > 1 else method
            drops = [drop(row) for row in group]
            deviation = float(np.std(drops, ddof=1)) if len(drops) > 1 else 0.0
            measured = all("cpu_seconds" in row for row in group if is_whole(row))
            found.append(Point(label, float(np.mean(times)), float(np.mean(drops)), deviation, measured))
    return sorted(found, key=lambda point: point.seconds)


def drop(row: dict) -> float:
    """Returns the drop of accuracy in points."""
    return 100 * (row["accuracy"]["teacher"] - row["accuracy"]["onnx"])


def core_seconds(row: dict) -> float:
    """Returns the processor seconds of a row, or their upper bound."""
    return row.get("cpu_seconds") or row["seconds"]["total"] * row["hardware"]["threads"]


def is_whole(row: dict) -> bool:
    """Tells whether one process ran the cell from its first image on."""
    return row["method"] in REAL or row["seconds"]["synthesis"] > SHORTEST_SYNTHESIS


def draw(axes: Axes, rows: list[dict], title: str) -> None:
    """Draws the panel of one format."""
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.annotate("teacher", (0, 0), (3, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                  fontsize=7, color=INK)  # fmt: skip
    for method, (label, style) in REAL.items():
        real = [drop(row) for row in rows if row["method"] == method]
        if real:
            axes.axhline(np.mean(real), color=ORANGE, linewidth=1, linestyle=style)
            axes.annotate(label, (0, np.mean(real)), (3, 2), xycoords=("axes fraction", "data"),
                          textcoords="offset points", fontsize=7, color=ORANGE)  # fmt: skip
    shown = points([row for row in rows if not row["method"].startswith("real")])
    for point in shown:
        place, colour = (point.seconds, point.drop), BLUE if point.label.split()[0] in OWN else FAINT
        axes.errorbar(*place, point.deviation, marker="o", markersize=5, capsize=3, color=colour,
                      markerfacecolor=colour if point.measured else "white")  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.12)
    low, high = axes.get_xlim()
    wider = max(MIN_SPAN * low / high, 1.0) ** 0.5
    axes.set_xlim(low / wider, high * wider)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    dress(axes, title, "core seconds per run", "drop of top-1 accuracy, points")
    name_points(axes, shown)


def name_points(axes: Axes, shown: list[Point]) -> None:
    """Writes each point's name to its right, at least `LINE` above the names of lower points near it."""
    placed: list[tuple[float, float]] = []
    for point in sorted(shown, key=lambda point: point.drop):
        across, up = axes.transData.transform((point.seconds, point.drop)) * 72 / DPI
        height = up - 3
        for other, taken in sorted(placed, key=lambda name: name[1]):
            if abs(other - across) < NEAR and abs(taken - height) < LINE:
                height = taken + LINE
        placed.append((across, height))
        leader = {"arrowstyle": "-", "linewidth": 0.4, "color": FAINT}
        axes.annotate(point.label, (point.seconds, point.drop), (9, height - up), textcoords="offset points",
                      fontsize=7, color=INK, arrowprops=leader)  # fmt: skip


@click.command()
@click.option(
    "--results",
    type=click.Path(exists=True, path_type=Path),
    default="benchmarks/results/accuracy.json",
    help="Read the results here.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/accuracy_over_seconds.png"),
    help="Write the picture here.",
)
def main(results: Path, out: Path) -> None:
    """Draws the drop of accuracy of ResNet-20 against the core seconds that it took."""
    rows = [row for row in json.loads(results.read_text()) if row["net"] == NET]
    figure = Figure(figsize=(12, 4.2), dpi=DPI, facecolor="white", layout="constrained")
    for axes, (scheme, bits) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        chosen = [row for row in rows if (row["scheme"], row["bits"]) == (scheme, bits)]
        draw(axes, chosen, f"{NET} W{bits}A{bits} {scheme}")
    save(figure, out)


if __name__ == "__main__":
    main()
