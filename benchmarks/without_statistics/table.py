"""The tables: one line per network, format and arm, as means over the seeds."""

from collections.abc import Callable

import numpy as np
from rich import box
from rich.table import Table

COLUMNS = ("network", "format", "images", "n", "seeds", "drop", "deviation", "jury dB", "core s")


def table(profile: str, rows: list[dict]) -> Table:
    """Returns the table of the rows of one profile.

    The drop is that of the ONNX file on the labelled images, in points. The deviation is that of the images from the
    BatchNorm statistics which the file has lost. "Jury dB" is the ratio of the student's logits on images made from
    these. "Core s" are the processor seconds of all threads that the images took.
    """
    view = Table(title=f"profile {profile}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        view.add_column(column, justify="left" if column in COLUMNS[:3] else "right", no_wrap=True)
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = (row["net"], row["weight_bits"], row["activation_bits"], row["method"], row["images"], row["count"])
        groups.setdefault(key, []).append(row)
    for (net, weights, activations, _, images, count), group in groups.items():
        view.add_row(
            net, f"W{weights}A{activations}", images, str(count), str(len(group)),
            _spread([100 * (row["accuracy"]["teacher"] - row["accuracy"]["onnx"]) for row in group], "{:.1f}".format),
            _spread([row["deviation"] for row in group], "{:.3f}".format),
            _spread([row["jury_snr_db"] for row in group], "{:.1f}".format),
            _spread([row["synthesis_cpu_seconds"] for row in group], "{:.0f}".format),
        )  # fmt: skip
    return view


def _spread(values: list[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return form(float(np.mean(known))) + (f" ± {form(float(np.std(known, ddof=1)))}" if len(known) > 1 else "")
