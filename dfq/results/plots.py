"""The pictures of a report: synthetic images in a contact sheet, and the learning curve."""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch.nn.functional import interpolate

from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.system.atomic_files import replacing

MAX_IMAGES = 64  # A contact sheet shows at most this many images.
# The geometry of a contact sheet, in pixels.
SHEET_PIXELS = 960  # width of the sheet that the columns share
MIN_CELL = 64  # smallest side of an image's cell
CAPTION = 18  # height of the text below an image
GAP = 6  # space between cells
DPI = 120
INK = "#22303c"
FAINT = "#8a97a3"
BLUE = "#2166ac"
ORANGE = "#d6604d"
PAPER = "#eef1f4"
NOT_LOSSES = frozenset(("step", "seconds", "learning_rate", "held_out", "accuracy"))  # other keys of a record


def contact_sheet(batch: Batch, input_spec: InputSpec, path: str | Path) -> None:
    """Writes up to 64 images of the batch as one PNG, sorted by label, each above the class that it was made for.

    Raises:
        DfqError: The file cannot be written.
    """
    save(contact_sheet_figure(batch, input_spec), path)


def contact_sheet_figure(batch: Batch, input_spec: InputSpec) -> Figure:
    """Draws the figure of `contact_sheet`."""
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
    """Returns pixels (n, C, H, W) and labels of images that are spread over the classes and sorted by them."""
    index = batch.spread(MAX_IMAGES)
    pixels = input_spec.to_pixels(batch.images[index.to(batch.images.device)].float().cpu())
    labels = None if batch.labels is None else batch.labels.cpu()[index].tolist()
    return pixels, labels


def _cell_pixels(side: int, columns: int) -> int:
    """Returns the side of a cell in pixels.

    It is a whole multiple of a small image's side, so that all pixels of the image are squares of one size.
    """
    cell = max(SHEET_PIXELS // columns, MIN_CELL)
    return side * ceil(cell / side) if side < cell else cell


def _enlarged(image: torch.Tensor, cell: int) -> np.ndarray:
    """Returns an image (C, H, W) as (cell, cell, 3).

    Small images keep their square pixels, and large ones are averaged down.
    """
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
    """Writes the training losses and the held-out divergence over the steps as one PNG, on logarithmic axes.

    Args:
        records: The records of `dfq.training.trainer.History`.
        chosen_step: The step whose weights were kept; None: the step with the smallest held-out divergence.

    Raises:
        DfqError: The file cannot be written.
    """
    save(learning_curve_figure(records, chosen_step), path)


def learning_curve_figure(records: Sequence[Mapping[str, float]], chosen_step: int | None = None) -> Figure:
    """Draws the figure of `learning_curve`."""
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
    """Gives the axes the title, labels, grid and spines that every picture of a report has."""
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(x_label, fontsize=8, color=INK)
    axes.set_ylabel(y_label, fontsize=8, color=INK)
    axes.tick_params(labelsize=8, colors=INK, which="both")
    axes.grid(True, which="both", linewidth=0.4, color="#dfe4e8")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def logarithmic(axes: Axes) -> None:
    """Makes the vertical axis logarithmic, with plain numbers, where a line was drawn."""
    if any(np.size(line.get_xdata()) for line in axes.lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: str | Path) -> None:
    """Writes the figure as one file: PNG, SVG or PDF, by the ending of its name.

    Vector files hold neither a date nor a random name, so that the same figure is the same file, and PDF files hold
    TrueType fonts, as publishers want them.

    Raises:
        DfqError: The file cannot be written.
    """
    kind = Path(path).suffix.removeprefix(".")
    with replacing(Path(path)) as temporary:
        if kind == "png":
            FigureCanvasAgg(figure).print_png(temporary)
            return
        with rc_context({"svg.hashsalt": "dfq", "pdf.fonttype": 42}):
            date = {"svg": "Date", "pdf": "CreationDate"}[kind]
            figure.savefig(temporary, format=kind, metadata={date: None})
