"""`compare.html` shows a comparison while it runs: a browser loads it anew until the last run has finished."""

from collections import Counter
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from dfq.jobs.compare import texts
from dfq.results.number_format import network_name
from dfq.system.atomic_files import replacing

RELOAD_SECONDS = 5  # how often a browser loads the page of a running comparison anew


def write_live_page(content: dict, path: Path, *, chart: str, running: str | None) -> None:
    """Writes the page, which has no script, and loads nothing but the chart beside it.

    Args:
        content: The content of `compare.json`.
        path: The file to write.
        chart: Name of the chart's file in the same folder.
        running: What runs now, such as "zeroq W4A4 seed 0"; None: the comparison has ended.

    Raises:
        DfqError: The file cannot be written.
    """
    source = files("dfq.jobs.compare").joinpath("live_page.html").read_text(encoding="utf-8")
    words = texts.labels_of(content)
    text = Environment(autoescape=True).from_string(source).render(
        title=f"{network_name(content['arch'])}, {words.conditions(content['conditions']['settings'])}",
        reload_seconds=RELOAD_SECONDS if running else None,
        state=_state(content, running),
        measure=texts.capitalized(texts.MEASURES[content["measure"]]),
        explained=texts.explained(content),
        hint=texts.hint(content),
        unequal=content["unequal"],
        work_title=texts.work_title(content),
        work=texts.work_table(content),
        columns=content["columns"],
        teacher=[texts.teacher_value(content)] * len(content["columns"]) if content["measure"] == "accuracy" else [],
        rows=[
            (method, [_cell(texts.summary_row(content, method, column), content) for column in content["columns"]])
            for method in content["methods"]
        ],
        failed=[f"{texts.title_of(row)}: {row['error']['found']}" for row in texts.failed_cells(content)],
        chart=chart if any(row["finished"] for row in content["summary"]) else None,
    )  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _state(content: dict, running: str | None) -> str:
    states = Counter(row["state"] for row in content["cells"])
    done = f"{states['finished']} of {len(content['cells'])} runs have finished"
    failed = f", {states['failed']} failed" if states["failed"] else ""
    return f"{done}{failed}{f'; now runs {running}' if running else ''}."


def _cell(row: dict, content: dict) -> tuple[str, str]:
    """Returns the figure of a cell, and what stands below it in small letters."""
    figure = texts.value(row, content["measure"])
    parts = (texts.difference(row, content), texts.seconds(row), texts.missing(row))
    below = ", ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts if part)
    return figure, below if figure != texts.NOTHING else f"{row['waiting']} to run" * bool(row["waiting"])
