"""The table of mixed precision: one line for each point."""

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.mixed.cell import NET, SCHEME


def groups_of(rows: list[dict]) -> list[list[dict]]:
    """Returns the rows of each point, over the seeds; the fewest bits come first."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        found.setdefault((row["mixed"], row["bits"]), []).append(row)
    return sorted(found.values(), key=lambda group: group[0]["average_bits"])


def drops(group: list[dict]) -> list[float]:
    """Returns the drop of accuracy of each row, in points."""
    return [100 * (row["accuracy"]["teacher"] - row["accuracy"]["onnx"]) for row in group]


def table(rows: list[dict]) -> Table:
    """Returns the table of the points: means over the seeds."""
    view = Table(title=f"{NET} {SCHEME}, activations 8 bits; accuracy of the ONNX file", box=box.SIMPLE_HEAD)
    for column in ("weights", "bits per weight", "seeds", "drop, points", "agreement, %", "kB"):
        view.add_column(column, justify="left" if column == "weights" else "right")
    for group in groups_of(rows):
        first = group[0]
        view.add_row(
            f"{'mixed' if first['mixed'] else 'uniform'} {first['bits']:g}", f"{first['average_bits']:.3f}",
            str(len(group)), f"{np.mean(drops(group)):.2f}",
            f"{np.mean([100 * row['train_agreement'] for row in group]):.2f}",
            f"{first['size_bytes']['onnx'] / 1000:.0f}",
        )  # fmt: skip
    return view
