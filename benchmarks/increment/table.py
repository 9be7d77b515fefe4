"""The table of new classes: one line per strategy."""

from statistics import mean

from rich import box
from rich.table import Table

from benchmarks.common.spread import spread
from dfq.jobs.increment import STRATEGIES


def table(profile: str, rows: list[dict]) -> Table:
    """Returns the table of one profile in percent, mean ± standard deviation over the seeds.

    "old", "new" and "all" are the accuracy after the last session on the first classes, on all later ones, and on both
    together; "average" is the average incremental accuracy.
    """
    seeds = len({row["seed"] for row in rows})
    view = Table(title=f"profile {profile}, seeds: {seeds}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("strategy", "old", "new", "all", "average", "forgetting", "s"):
        view.add_column(column, justify="left" if column == "strategy" else "right", no_wrap=True)
    for strategy in STRATEGIES:
        group = [row for row in rows if row["strategy"] == strategy]
        if not group:
            continue
        last = [row["by_group"][-1] for row in group]
        figures = (
            [groups[0] for groups in last], [mean(groups[1:]) for groups in last], [row["seen"][-1] for row in group],
            [row["average_accuracy"] for row in group], [row["forgetting"] for row in group],
        )  # fmt: skip
        cells = [spread([100 * value for value in values], 1) for values in figures]
        view.add_row(strategy, *cells, f"{mean(row['cpu_seconds'] for row in group):.0f}")
    return view
