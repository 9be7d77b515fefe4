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
    of_net = [row for row in rows if (row["net"], row["bits"]) == (net, bits)]
    present = {(row["arm"], row["method"]) for row in of_net}
    arms = [arm for arm in ((name, described(method)) for name, method in ARMS.items()) if arm in present]
    for arm in arms or dict.fromkeys((row["arm"], row["method"]) for row in of_net):  # else those of an earlier table
        group = [row for row in of_net if (row["arm"], row["method"]) == arm]
        figures = [spread([100 * row[key] for row in group], 2) for key in ("real", "jury")]
        view.add_row(arm[0], str(len(group)), *figures, f"{np.mean([row['seconds'] for row in group]):.0f}")
    return view
