"""The table of the ablation: one line per arm."""

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.ablation.arms import ARMS, described
from benchmarks.ablation.cell import SCHEME, work_of
from benchmarks.common.spread import spread

COLUMNS = ("arm", "n", "real", "jury", "same", "other", "active")
MADE = ("made_same", "made_different")


def table(rows: list[dict], net: str, bits: int) -> Table:
    """Returns the table of one network at one width: a line for each arm, mean ± standard deviation over the seeds.

    N is the number of seeds. "Same" and "other" are the mean distances, in the student's features, of the images of one
    class and of different classes that were made against it; "active" is the share of triplets that violate the margin
    in the student at the end. Phase one is to raise the first and to lower the second, and phase two to lower the
    third.
    """
    work = work_of(net)
    title = f"{net} W{bits}A{bits} {SCHEME}: {work.images} images, {work.steps} steps; agreement with the teacher in %"
    view = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        view.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    of_net = [row for row in rows if (row["net"], row["bits"]) == (net, bits)]
    for name, method in ARMS.items():
        group = [row for row in of_net if (row["arm"], row["method"]) == (name, described(method))]
        if group:
            agreements = [spread([100 * row[key] for row in group], 2).replace(" ± ", "±") for key in ("real", "jury")]
            view.add_row(name, str(len(group)), *agreements, *_moved(group))
    return view


def _moved(rows: list[dict]) -> tuple[str, ...]:
    """Returns what the arms were to move: distances of the images made against the student, and triplets at the end."""
    rounds = [made for row in rows for made in row["rounds"]]
    images = [f"{np.mean([made[key] for made in rounds]):.2f}" if rounds else "" for key in MADE]
    return *images, f"{np.mean([row['relations']['active'] for row in rows]):.2f}"
