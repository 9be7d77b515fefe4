"""Prints the census as a table of Markdown: what `run.py` measured, beside the shares of an earlier version.

    python -m benchmarks.zoo.table benchmarks/results/zoo.json [--before benchmarks/results/zoo_before.json]

ZOO.md holds what it prints.
"""

import argparse
import json
from pathlib import Path

from dfq.results.verdict import SHORT

BEFORE = "on integers, before"
HEADS = ("network", BEFORE, "on integers", "without choices", "in float, by reason", "file", "agreement")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="Read the rows here.")
    parser.add_argument(
        "--before",
        type=Path,
        help="Read the shares of an earlier version here, by name; null stands for a refused network.",
    )
    options = parser.parse_args()
    rows = json.loads(options.rows.read_text())
    before = json.loads(options.before.read_text()) if options.before else None
    print(table(rows, before))


def table(rows: dict, before: dict | None) -> str:
    """Returns the summary, a line for each reason, and a row for each network, without columns that are empty."""
    lines = [[name, "" if before is None else _share(before.get(name)), *_cells(row)] for name, row in rows.items()]
    columns = [column for column in range(len(HEADS)) if any(line[column] for line in lines)]
    lines = [list(HEADS), ["---"] * len(HEADS), *lines]
    return "\n".join([summary(rows), "", *_reasons(rows), "", *(_line([line[c] for c in columns]) for line in lines)])


def summary(rows: dict) -> str:
    """Tells the result of a whole list in one line; a refused network has the share 0."""
    shares = [row.get("share", 0.0) for row in rows.values()]
    everything = [row.get("share_all", 0.0) for row in rows.values()]
    whole = sum(share >= 0.95 for share in shares)
    refused = [name for name, row in rows.items() if "refused" in row]
    return (
        f"{len(rows)} networks, {len(rows) - len(refused)} convert, {whole} with at least 95 % of their "
        f"multiply–accumulates on integers; mean share {sum(shares) / len(rows):.3f}, without choices for the sake of "
        f"speed {sum(everything) / len(rows):.3f}; refused: {', '.join(refused) or 'none'}"
    )


def _reasons(rows: dict) -> list[str]:
    shares: dict[str, list[float]] = {}
    for row in rows.values():
        for reason, share in row.get("in_float", {}).items():
            shares.setdefault(reason, []).append(share)
    return [
        f"- {SHORT[reason]} ({reason}): in {len(found)} networks, {_share(sum(found) / len(found))} there on average"
        for reason, found in sorted(shares.items())
    ]


def _cells(row: dict) -> list[str]:
    if "refused" in row:
        return ["refused", "refused", row["refused"].replace("|", "\\|"), "", ""]
    reasons = "; ".join(
        f"{SHORT[reason]} {_share(share)}" for reason, share in row["in_float"].items() if share >= 0.005
    )
    files = row["files"]
    sizes = [f"{files['size_ratio']:.2f}×", _share(files["agreement"])] if files else ["", ""]
    return [_share(row["share"]), _share(row["share_all"]), reasons, *sizes]


def _share(share: float | None) -> str:
    return "refused" if share is None else f"{share:.0%}".replace("%", " %")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
