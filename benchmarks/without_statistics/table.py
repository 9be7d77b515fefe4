"""The tables: one line per network, format and arm, as means over the seeds."""

from collections.abc import Callable

import numpy as np
from rich import box
from rich.table import Table

COLUMNS = ("images", "seeds", "drop", "off", "dB", "core s")
WORK = ("net", "weight_bits", "activation_bits", "method", "count")  # what the arms of one section share


def table(profile: str, rows: list[dict]) -> Table:
    """Returns the table of the rows of one profile, with a section for each network, format, method and image count.

    The drop is that of the ONNX file on the labelled images, in points. "Off" is the deviation of the images from the
    BatchNorm statistics which the file has lost. "dB" is the ratio of the student's logits on images made from these.
    "Core s" are the processor seconds of all threads that the images took.
    """
    view = Table(title=f"profile {profile}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        view.add_column(column, justify="left" if column == "images" else "right", no_wrap=True)
    sections: dict[tuple, dict[str, list[dict]]] = {}
    for row in rows:
        section = sections.setdefault(tuple(row[key] for key in WORK), {})
        section.setdefault(row["images"], []).append(row)
    for (net, weights, activations, method, count), arms in sections.items():
        view.add_section()
        view.add_row(f"{net} W{weights}A{activations} {method} {count}", style="bold")
        for images, group in arms.items():
            drops = [100 * (row["accuracy"]["teacher"] - row["accuracy"]["onnx"]) for row in group]
            view.add_row(
                f"  {images}", str(len(group)),
                _spread(drops, "{:.1f}".format),
                _spread([row["deviation"] for row in group], "{:.2f}".format),
                _spread([row["jury_snr_db"] for row in group], "{:.1f}".format),
                f"{np.mean([row['synthesis_cpu_seconds'] for row in group]):.0f}",
            )  # fmt: skip
    return view


def _spread(values: list[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return form(float(np.mean(known))) + (f"±{form(float(np.std(known, ddof=1)))}" if len(known) > 1 else "")
