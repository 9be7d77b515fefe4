"""The picture of `Diversity`: four panels, for one set of images or for several side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from dfq.evaluation.diversity import LARGEST_DISTANCE, Diversity
from dfq.evaluation.settings import DiversitySettings
from dfq.results.plots import BLUE, DPI, FAINT, INK, ORANGE, dress, logarithmic, save

COLOURS = (BLUE, ORANGE, "#3a8f6b", "#8562a8", "#c79a2b", FAINT)  # The sets take these colours in their order.
USUAL_DISTANCE = 1.45  # After a ReLU, no distance is larger; the axis reaches at least this far.
FEW = 2  # Up to this many sets, each panel has room for a legend.
BAR_SHARE = 0.84  # A bar takes this share of a class's place; the rest is the gap to the next class.


def diversity_plot(
    measured: Diversity | Mapping[str, Diversity],
    path: str | Path,
    *,
    settings: DiversitySettings = DiversitySettings(),
) -> None:
    """Writes feature distances, the teacher's entropy, classes and the BatchNorm deviation as one PNG.

    Entropy and classes are left out for a network that is no classifier.

    Args:
        measured: One set of images, or several sets by name, such as those of several methods on one teacher.
        settings: The settings that the sets were measured with.

    Raises:
        DfqError: The file cannot be written.
    """
    sets = measured if isinstance(measured, Mapping) else {"": measured}
    has_classes = all(diversity.num_classes for diversity in sets.values())
    figure = Figure(figsize=(9, 5.8 if has_classes else 3.1), dpi=DPI, facecolor="white", layout="constrained")
    panels = list(figure.subplots(2 if has_classes else 1, 2).flat)
    _distances(panels[0], sets, settings.distance_bins)
    _deviations(panels[-1], sets)
    if has_classes:
        _entropies(panels[1], sets, settings)
        _classes(panels[2], sets)
    for axes in panels:
        axes.set_axisbelow(True)
        if len(sets) <= FEW and axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    if len(sets) > FEW:
        _one_legend(figure, list(sets))
    save(figure, path)


def _one_legend(figure: Figure, names: list[str]) -> None:
    """Draws one legend below the panels; in each of them, a legend of many sets would hide what it explains."""
    lines = [Line2D([], [], color=_colour(index), linewidth=2.5) for index in range(len(names))]
    lines += [Line2D([], [], color=INK, linewidth=1.4, linestyle=style) for style in ("-", "--")]
    labels = [*names, "same class", "different classes"]
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)


def _distances(axes: Axes, sets: Mapping[str, Diversity], bins: int) -> None:
    """Draws one set with a colour for each kind of pair, several sets with a colour for each set.

    Dashed lines are pairs of different classes.
    """
    edges = np.linspace(0, LARGEST_DISTANCE, bins + 1)
    for index, (name, diversity) in enumerate(sets.items()):
        colour = _colour(index)
        pairs = "same class" if diversity.num_classes else "all pairs"
        label = _label(name, pairs, diversity.same_class_distance)
        _outline(axes, diversity.same_class_pairs, edges, color=colour, label=label)
        label, colour = _label(name, "different", diversity.different_class_distance), colour if name else ORANGE
        _outline(axes, diversity.different_class_pairs, edges, color=colour, label=label, linestyle="--")
    dress(axes, "distance of penultimate features", "distance of unit vectors", "share of pairs")
    axes.set_xlim(0, max(USUAL_DISTANCE, axes.get_xlim()[1]))
    _leave_room(axes)
    _say_if_empty(axes, "no pair of images")


def _entropies(axes: Axes, sets: Mapping[str, Diversity], settings: DiversitySettings) -> None:
    edges = np.logspace(*settings.entropy_decades, settings.entropy_bins + 1)
    for index, (name, diversity) in enumerate(sets.items()):
        label = _label(name, "mean", diversity.entropy, " nats")
        _outline(axes, diversity.entropy_counts, edges, color=_colour(index), label=label)
    dress(axes, "entropy of the teacher's answers", "nats", "share of images")
    axes.set(xscale="log", xlim=(edges[0], edges[-1]))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="x", which="minor")
    _leave_room(axes)


def _classes(axes: Axes, sets: Mapping[str, Diversity]) -> None:
    for index, (name, diversity) in enumerate(sets.items()):
        shares, per_bin = np.array(diversity.class_counts) / diversity.images, diversity.classes_per_bin
        width = BAR_SHARE * per_bin / len(sets)
        middle = np.arange(len(shares)) * per_bin + (per_bin - 1) / 2
        places = middle + (index - (len(sets) - 1) / 2) * width
        label = _label(name, "balance", diversity.class_balance)
        axes.bar(places, shares, width, color=_colour(index), label=label)
        axes.axhline(per_bin / diversity.num_classes, color=INK, linewidth=0.9, linestyle=":")
    unit = "class" if per_bin == 1 else f"class, {per_bin} in each bar"
    dress(axes, "the teacher's answers (dotted: balanced)", unit, "share of images")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.grid(visible=False, axis="x")
    _leave_room(axes)


def _deviations(axes: Axes, sets: Mapping[str, Diversity]) -> None:
    for index, (name, diversity) in enumerate(sets.items()):
        values = np.array(diversity.batch_norm_deviation or ())
        if np.any(values > 0):
            places, label = np.arange(1, len(values) + 1), _label(name, "mean", values.mean())
            axes.plot(places, values, "o-", color=_colour(index), markersize=3, linewidth=1.4, label=label)
    dress(axes, "deviation from the BatchNorm statistics", "layer", "relative, squared")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    logarithmic(axes)
    _say_if_empty(axes, "no BatchNorm")


def _outline(
    axes: Axes, counts: Sequence[int], edges: np.ndarray, *, color: str, label: str | None, linestyle: str = "-"
) -> None:
    """Draws a histogram of shares with a faint filling, cut off where it is empty."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return
    first, end = filled[0], filled[-1] + 1
    shares, edges = np.array(counts[first:end]) / sum(counts), edges[first : end + 1]
    axes.stairs(shares, edges, color=color, linewidth=1.4, label=label, linestyle=linestyle)
    axes.stairs(shares, edges, color=color, alpha=0.12, fill=True)


def _leave_room(axes: Axes) -> None:
    """Adds a quarter of the height, for a legend."""
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])


def _say_if_empty(axes: Axes, text: str) -> None:
    if not axes.lines and not axes.patches:
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", size=9, color=FAINT)
        axes.set(xticks=[], yticks=[])


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _label(name: str, what: str, value: float | None, unit: str = "") -> str:
    figure = "–" if value is None else f"{value:.2f}{unit}" if value >= 0.1 else f"{value:.2g}{unit}"
    return f"{name}: {what} {figure}" if name else f"{what} {figure}"
