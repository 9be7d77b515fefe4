"""The pictures of a report: synthetic images in a contact sheet, and the learning curve."""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch.nn.functional import interpolate

from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.system.atomic_files import replacing

MAX_IMAGES = 64
SHEET_PIXELS, MIN_CELL, CAPTION, GAP = 960, 64, 18, 6
DPI = 120
INK, FAINT, BLUE, ORANGE, PAPER = "#22303c", "#8a97a3", "#2166ac", "#d6604d", "#eef1f4"
NOT_LOSSES = frozenset(("step", "seconds", "learning_rate", "held_out", "accuracy"))


def contact_sheet(batch: Batch, input_spec: InputSpec, path: str | Path) -> None:
    """Writes up to 64 images of the batch as one PNG, sorted by label, each under the class it was made for.

    Raises:
        DfqError: the file cannot be written.
    """
    save(contact_sheet_figure(batch, input_spec), path)


def contact_sheet_figure(batch: Batch, input_spec: InputSpec) -> Figure:
    """The figure of `contact_sheet`."""
    images, labels = _chosen(batch, input_spec)
    columns = ceil(sqrt(len(images)))
    cell = _cell_pixels(max(images.shape[2:]), columns)
    rows, caption = ceil(len(images) / columns), CAPTION if labels is not None else 0
    size = (columns * (cell + GAP) + GAP, rows * (cell + caption + GAP) + GAP)
    figure = Figure(figsize=(size[0] / DPI, size[1] / DPI), dpi=DPI, facecolor=PAPER)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left, top = GAP + column * (cell + GAP), GAP + row * (cell + caption + GAP)
        figure.figimage(_enlarged(image, cell), left, size[1] - top - cell, origin="upper")
        if labels is not None:
            position = ((left + cell / 2) / size[0], 1 - (top + cell + CAPTION / 2) / size[1])
            figure.text(*position, f"class {labels[index]}", ha="center", va="center", size=7, color=INK)
    return figure


def _chosen(batch: Batch, input_spec: InputSpec) -> tuple[torch.Tensor, list[int] | None]:
    """(pixels (n, C, H, W), labels): spread over the classes and sorted by them."""
    index = batch.spread(MAX_IMAGES)
    pixels = input_spec.to_pixels(batch.images[index.to(batch.images.device)].float().cpu())
    labels = None if batch.labels is None else batch.labels.cpu()[index].tolist()
    return pixels, labels


def _cell_pixels(side: int, columns: int) -> int:
    """Side of a cell: a whole multiple of a small image's side, so that all its pixels are squares of one size."""
    cell = max(SHEET_PIXELS // columns, MIN_CELL)
    return side * ceil(cell / side) if side < cell else cell


def _enlarged(image: torch.Tensor, cell: int) -> np.ndarray:
    """(cell, cell, 3) from (C, H, W): small images keep their square pixels, large ones are averaged down."""
    shown = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    factor = cell / max(shown.shape[1:])
    height, width = (max(round(side * factor), 1) for side in shown.shape[1:])
    mode = {"mode": "nearest"} if factor >= 1 else {"mode": "bilinear", "antialias": True}
    scaled = interpolate(shown[None], (height, width), **mode)[0].clamp(0, 1)
    canvas = torch.tensor(to_rgb(PAPER)).view(3, 1, 1).repeat(1, cell, cell)
    top, left = (cell - height) // 2, (cell - width) // 2
    canvas[:, top : top + height, left : left + width] = scaled
    return canvas.permute(1, 2, 0).numpy()


def learning_curve(records: Sequence[Mapping[str, float]], path: str | Path, chosen_step: int | None = None) -> None:
    """Writes training losses and held-out divergence over the steps as one PNG, logarithmic.

    Args:
        records: of `dfq.training.trainer.History`.
        chosen_step: the step whose weights were kept; None: the one with the smallest held-out divergence.

    Raises:
        DfqError: the file cannot be written.
    """
    save(learning_curve_figure(records, chosen_step), path)


def learning_curve_figure(records: Sequence[Mapping[str, float]], chosen_step: int | None = None) -> Figure:
    """The figure of `learning_curve`."""
    figure = Figure(figsize=(9, 3.4), dpi=DPI, facecolor="white", layout="constrained")
    training, held_out = figure.subplots(1, 2)
    losses = sorted({name for record in records for name in record} - NOT_LOSSES)
    for name, colour in zip(losses, (BLUE, ORANGE, FAINT, INK) * len(losses), strict=False):
        _line(training, records, name, colour)
    dress(training, "training loss", "step", "nats")
    logarithmic(training)
    if len(losses) > 1:
        training.legend(frameon=False, fontsize=8)
    _line(held_out, records, "held_out", BLUE)
    dress(held_out, "divergence from the teacher, held-out synthetic images", "step", "nats")
    logarithmic(held_out)
    _mark_chosen(held_out, records, chosen_step)
    for axes in (training, held_out):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure


def _line(axes: Axes, records: Sequence[Mapping[str, float]], name: str, colour: str) -> None:
    points = [(record["step"], record[name]) for record in records if record.get(name, 0) > 0]
    steps, values = zip(*points, strict=True) if points else ((), ())
    marker = "o" if len(points) < 40 else ""
    axes.plot(steps, values, color=colour, marker=marker, markersize=3, linewidth=1.4, label=name)


def _mark_chosen(axes: Axes, records: Sequence[Mapping[str, float]], chosen_step: int | None) -> None:
    seen = [record for record in records if record.get("held_out", 0) > 0]
    if not seen:
        return
    best = min(seen, key=lambda record: record["held_out"])
    chosen = next((record for record in seen if record["step"] == chosen_step), best)
    axes.axvline(chosen["step"], color=ORANGE, linewidth=1, linestyle=":")
    label = f"kept: step {chosen['step']}, {chosen['held_out']:.2g} nats"
    (marker,) = axes.plot(chosen["step"], chosen["held_out"], "o", color=ORANGE, markersize=6, label=label)
    axes.legend(handles=[marker], frameon=False, fontsize=8, labelcolor=INK)


def dress(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Title, labels, grid and spines as in every picture of a report."""
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(x_label, fontsize=8, color=INK)
    axes.set_ylabel(y_label, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK, which="both")
    axes.grid(True, which="both", linewidth=0.4, color="#dfe4e8")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def logarithmic(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers, where anything was drawn as a line."""
    if any(np.size(line.get_xdata()) for line in axes.lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: str | Path) -> None:
    """Writes the figure as one PNG.

    Raises:
        DfqError: the file cannot be written.
    """
    with replacing(Path(path)) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
