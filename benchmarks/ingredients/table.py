"""The table of the ingredients: one line per arm."""

from rich import box
from rich.table import Table

from benchmarks.common.spread import spread
from benchmarks.ingredients.arms import ARMS
from benchmarks.ingredients.cell import Work, is_of, key_of


def table(rows: list[dict], net: str, form: str, work: Work) -> Table:
    """Returns the table of one network and format: a line for each arm, mean ± standard deviation over the seeds."""
    title = f"{net} {form}: {work.images} images, {work.iterations} iterations a block, {work.steps} steps"
    view = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in (
        "arm",
        "seeds",
        "jury: mixtures, %",
        "jury: divergence",
        "10,000 real images, %",
        "accuracy",
    ):
        view.add_column(column, justify="left" if column == "arm" else "right")
    for arm in ARMS:
        group = [row for row in rows if is_of(row, key_of(net, arm, form, row["seed"], work))]
        if group:
            mixed = spread([100 * row["evidence"]["mixed_agreement"] for row in group], 2)
            divergence = spread([row["evidence"]["divergence"] for row in group], 3)
            real = spread([100 * row["real_agreement"] for row in group], 2)
            known = [100 * row["accuracy"]["student"] for row in group if "accuracy" in row]
            accuracy = spread(known, 1) if known else ""
            view.add_row(arm, str(len(group)), mixed, divergence, real, accuracy)
    return view
