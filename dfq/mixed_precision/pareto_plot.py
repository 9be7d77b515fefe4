"""Draws a choice: the Pareto front with the chosen and the uniform widths, and the bits of each layer."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.quantizers.scheme import BITS
from dfq.results.plots import BLUE, DPI, FAINT, INK, ORANGE, dress, save

AXES: dict[str, dict[float, tuple[str, float]]] = {  # unit → smallest cost → label, and what costs are multiplied by
    "bits": {0: ("bits per weight, average", 1.0)},
    "bytes": {0: ("ONNX file, kB", 1e-3), 1e6: ("ONNX file, MB", 1e-6)},
    "bops": {0: ("M bit operations per image", 1e-6), 1e9: ("G bit operations per image", 1e-9)},
}
BAR = 0.8  # share of the axis that bars take
MAX_NAMES = 24  # More names of layers than this cannot be read.
SMALLEST_DRAWN = 1e-7  # nats; smaller sensitivities are drawn here, because a logarithmic axis has no zero


def mixed_precision_plot(choice: ChosenWidths, path: str | Path) -> None:
    """Draws summed sensitivity against cost, and the bits of each layer, and writes both as one PNG.

    Raises:
        DfqError: The file cannot be written.
    """
    figure = Figure(figsize=(9, 3.8), dpi=DPI, facecolor="white", layout="constrained")
    front, layers = figure.subplots(1, 2)
    _draw_front(front, choice)
    _draw_layers(layers, choice)
    save(figure, path)


def _draw_front(axes: Axes, choice: ChosenWidths) -> None:
    axis = AXES[choice.unit]
    label, factor = axis[max(least for least in axis if choice.front[-1].cost >= least)]
    costs = [factor * point.cost for point in choice.front]
    losses = [max(point.sensitivity, SMALLEST_DRAWN) for point in choice.front]
    axes.step(costs, losses, where="post", color=BLUE, linewidth=1.4, label="best mixed widths")
    for index, (bits, point) in enumerate(choice.uniform.items()):
        place = factor * point.cost, max(point.sensitivity, SMALLEST_DRAWN)
        axes.plot(*place, "s", color=FAINT, markersize=5, label="" if index else "one width for all")
        axes.annotate(f"{bits} bits", place, (5, 4), textcoords="offset points", fontsize=7, color=INK)
    axes.axvline(factor * choice.target, color=ORANGE, linewidth=1, linestyle=":", label="target")
    axes.plot(factor * choice.chosen.cost, max(choice.chosen.sensitivity, SMALLEST_DRAWN), "o", color=ORANGE,
              markersize=7, label="chosen")  # fmt: skip
    dress(axes, "what the widths cost and lose", label, "sum of sensitivities, nats")
    axes.margins(x=0.1)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, which="minor")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_layers(axes: Axes, choice: ChosenWidths) -> None:
    read = {layer: group for group in choice.activations for layer in group.layers}
    rows: list[tuple[str, Mapping[str, int], Collection[str]]] = [(BLUE, choice.widths, choice.fixed)]
    if read:
        not_chosen = [layer for layer, group in read.items() if not group.sensitivities]
        rows.append((ORANGE, {layer: group.bits for layer, group in read.items()}, not_chosen))
    places, width = np.arange(len(choice.widths)), BAR / len(rows)
    for index, (colour, bits, fixed) in enumerate(rows):
        heights = [bits.get(layer, 0) for layer in choice.widths]
        colours = [FAINT if layer in fixed else colour for layer in choice.widths]
        axes.bar(places - BAR / 2 + width * (index + 0.5), heights, width, color=colours)
    what = "weight (blue) and input (orange)" if read else f"weight, {choice.average_bits:.2f} on average"
    dress(axes, f"bits of each {what}; grey: fixed", "", "bits")
    axes.yaxis.set_major_locator(FixedLocator([0, *BITS]))
    axes.grid(visible=False, axis="x")
    axes.set_axisbelow(True)
    if len(choice.widths) <= MAX_NAMES:
        axes.set_xticks(places, list(choice.widths), rotation=90, fontsize=7)
    else:
        axes.set_xlabel("layer", fontsize=8, color=INK)
