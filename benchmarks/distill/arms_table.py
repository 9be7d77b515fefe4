"""The table of RGAL's parts in distillation: accuracy, and whether each part moved what it was to move."""

from statistics import mean

from rich import box
from rich.table import Table

from benchmarks.common.spread import spread

COLUMNS = ("arm", "seeds", "accuracy", "agreement", "same", "other", "active")


def arms_table(profile: str, rows: list[dict]) -> Table:
    """Returns the table of the rows of one profile of arms, in percent; the best arm comes first.

    `same` and `other` are mean distances between images of one class and of different ones, in the student's features,
    among the images that were made against it. `active` is the share of triplets that violate the margin at the end, on
    images that all arms have.
    """
    title = f"profile {profile}, teacher {100 * rows[0]['accuracy']['teacher']:.1f}"
    view = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        is_name = column == "arm"
        view.add_column(column, justify="left" if is_name else "right", no_wrap=not is_name)
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    for arm, group in sorted(groups.items(), key=lambda item: -mean(r["accuracy"]["onnx"] for r in item[1])):
        view.add_row(
            arm, str(len(group)), spread([100 * row["accuracy"]["onnx"] for row in group], 1),
            spread([100 * row["agreement"]["student_teacher"]["labelled"] for row in group], 1),
            _distance(group, "made_same"), _distance(group, "made_different"),
            f"{mean(row['relations']['active'] for row in group):.2f}",
        )  # fmt: skip
    return view


def _distance(group: list[dict], name: str) -> str:
    found = [each[name] for row in group for each in row["training"].get("rounds", ()) if each[name] is not None]
    return f"{mean(found):.2f}" if found else ""
