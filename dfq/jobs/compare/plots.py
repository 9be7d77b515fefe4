"""The chart of a comparison: the measured figure by variant, and by the time that it took."""

from math import isnan, nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dfq.jobs.compare import texts
from dfq.results.plots import BLUE, DPI, INK, ORANGE, dress, save

COLOURS = (BLUE, ORANGE, "#1b9e77", "#e0a100", "#7b5ea7", "#4fb3d9", "#8c564b", "#c2569b")
MARKERS = ("o", "s", "^")  # If there are more methods than colours, colours are repeated with another marker.
DODGE = 0.07  # Horizontal distance between two methods, in columns.
LOGARITHMIC_FROM = 3.0  # The time axis is logarithmic where the largest time ÷ the smallest one is above this.
LABELS = {
    "accuracy": "top-1 accuracy, %",
    "common_agreement": "top-1 agreement with the teacher, %\n(held-out synthetic images, the same for all)",
    "agreement": "top-1 agreement with the teacher, %\n(each cell's own synthetic images)",
    "common_snr_db": "signal-to-noise ratio to the teacher, dB\n(held-out synthetic images, the same for all)",
    "snr_db": "signal-to-noise ratio to the teacher, dB\n(each cell's own synthetic images)",
}


def comparison_chart(content: dict, *paths: str | Path) -> None:
    """Draws the figures by column and by time from the content of `compare.json`; writes PNG, SVG or PDF files.

    Where there is one column, the figures by time are drawn alone. Error bars are standard deviations over the seeds;
    where there is one seed, there are none.

    Raises:
        DfqError: A file cannot be written.
    """
    panels = 2 if len(content["axis"]) > 1 else 1
    figure = Figure(figsize=(9 if panels == 2 else 5.5, 4), dpi=DPI, facecolor="white", layout="constrained")
    drawn = list(figure.subplots(1, panels, sharey=True, squeeze=False).flat)
    by_seconds = drawn[-1]
    for index, method in enumerate(content["methods"]):
        rows = [row for row in content["summary"] if row["method"] == method and row["finished"]]
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index // len(COLOURS) % len(MARKERS)]}
        style["label"] = method
        shift = DODGE * (index - (len(content["methods"]) - 1) / 2)
        if panels == 2:
            _against_column(drawn[0], rows, content["axis"], content["measure"], shift, style)
        _against_seconds(by_seconds, rows, content["measure"], style, named=panels == 2)
    if panels == 2:
        _dress_columns(drawn[0], content)
    _dress_seconds(by_seconds, content)
    teacher = content["teacher"]["accuracy"] if content["measure"] == "accuracy" else None
    if teacher is not None:
        for axes in drawn:
            axes.axhline(100 * teacher, color=INK, linewidth=1, linestyle="--", zorder=1, label="teacher")
    handles, names = by_seconds.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5 if panels == 2 else 3),
                  frameon=False, fontsize=8, labelcolor=INK)  # fmt: skip
    for path in paths:
        save(figure, path)


def _against_column(axes: Axes, rows: list[dict], order: list[str], measure: str, shift: float, style: dict) -> None:
    rows = sorted(rows, key=lambda row: order.index(row["column"]))
    positions = [order.index(row["column"]) + shift for row in rows]
    means, deviations = _figures(rows, measure)
    axes.errorbar(positions, means, yerr=deviations, linewidth=1.4, markersize=5, capsize=3, elinewidth=1, **style)


def _against_seconds(axes: Axes, rows: list[dict], measure: str, style: dict, *, named: bool) -> None:
    """Draws a point for each row; with `named`, the name of its column stands beside it."""
    means, deviations = _figures(rows, measure)
    times, spreads = _figures(rows, "seconds")
    axes.errorbar(times, means, xerr=spreads, yerr=deviations, linestyle="", markersize=5, capsize=3, elinewidth=1,
                  **style)  # fmt: skip
    for row, time, value in zip(rows, times, means, strict=True):
        if named:
            axes.annotate(
                row["column"], (time, value), (6, 5), textcoords="offset points", fontsize=7, color=style["color"]
            )


def _figures(rows: list[dict], measure: str) -> tuple[list[float], list[float] | None]:
    """Returns the means and the standard deviations, in percent, dB or seconds.

    A deviation is not a number where there is one seed, so that no bar is drawn; there are none if that holds for all.
    """
    factor = 100 if measure in texts.SHARES else 1
    spreads = [nan if row[measure]["std"] is None else factor * row[measure]["std"] for row in rows]
    return [factor * row[measure]["mean"] for row in rows], None if all(map(isnan, spreads)) else spreads


def _dress_columns(axes: Axes, content: dict) -> None:
    names, words = content["axis"], texts.labels_of(content)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    dress(axes, f"by {words.column}", words.axis, LABELS[content["measure"]])


def _dress_seconds(axes: Axes, content: dict) -> None:
    times = [row["seconds"]["mean"] for row in content["summary"] if row["seconds"]["mean"]]
    if times and max(times) > LOGARITHMIC_FROM * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15)
    is_alone = len(content["axis"]) == 1
    title = f"by time, {content['axis'][0]}" if is_alone else "by time"
    dress(axes, title, "seconds per run", LABELS[content["measure"]] if is_alone else "")
    axes.tick_params(labelleft=True)
