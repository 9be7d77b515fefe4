"""The table of the ablation: one line per arm."""

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.ablation.arms import ARMS, described
from benchmarks.ablation.cell import SCHEME, work_of
from benchmarks.common.spread import spread


def table(rows: list[dict], net: str, bits: int) -> Table:
    """Returns the table of one network at one width: a line for each arm, mean ± standard deviation over the seeds."""
    work = work_of(net)
    title = f"{net} W{bits}A{bits} {SCHEME}: {work.images} images, {work.steps} steps; agreement with the teacher in %"
    view = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("arm", "seeds", "real images", "synthetic jury", "s"):
        view.add_column(column, justify="left" if column == "arm" else "right")
    for name in ARMS:
        key = (name, net, bits, described(ARMS[name]))
        group = [row for row in rows if (row["arm"], row["net"], row["bits"], row["method"]) == key]
        if group:
            figures = [spread([100 * row[key] for row in group], 2) for key in ("real", "jury")]
            view.add_row(name, str(len(group)), *figures, f"{np.mean([row['seconds'] for row in group]):.0f}")
    return view
