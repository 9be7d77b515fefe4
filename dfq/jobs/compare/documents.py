"""The tables of a comparison as Markdown, LaTeX and CSV."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from dfq.jobs.compare import texts
from dfq.jobs.compare.summary import MEASURED

# What LaTeX writes in place of a character; all others stay as they are.
LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "×": r"$\times$", "≥": r"$\geq$", "→": r"$\to$", "–": r"\textendash{}", "…": r"\dots{}"},
}
CSV_COLUMNS = ("method", "column", "seed", "state", *MEASURED)


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        caption: Whole sentences on what the table shows, and how it was made.
        head: Name of each column.
        rows: The cells of each row.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def markdown(content: dict) -> str:
    """Returns the tables for a text, with captions that say what was measured and how."""
    tables = [part for table in _tables(content) for part in (table.caption, _markdown_table(table))]
    notes = [f"- {choice}" for choice in texts.choices(content)]
    notes += [f"- {texts.title_of(row)} failed: {row['error']['found']}" for row in texts.failed_cells(content)]
    return "\n\n".join(part for part in (*tables, "\n".join(notes)) if part) + "\n"


def latex(content: dict) -> str:
    """Returns the tables for a paper, as `table` environments, which need the package booktabs."""
    head = "% Tables of dfq compare; they need \\usepackage{booktabs}."
    return "\n\n".join([head, *map(_latex_table, _tables(content))]) + "\n"


def comma_separated(content: dict) -> str:
    """Returns a line for each run, with the figures as `compare.json` has them; what was not measured is empty."""
    text = StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(content["cells"])
    return text.getvalue()


def _tables(content: dict) -> list[TextTable]:
    """Returns the results, what each run did for them, and how varied the images are."""
    head, *rows = texts.work_table(content)
    return [_results(content), TextTable(f"{texts.work_title(content)}.", head, rows), _variety(content)]


def _results(content: dict) -> TextTable:
    shared = content["conditions"]["settings"]
    budget = f"{shared['budget']:g} s per cell" if shared["budget"] else "no time limit"
    measure = texts.capitalized(texts.MEASURES[content["measure"]])
    captions = (
        content["unequal"],
        f"{measure}; {texts.explained(content)} {texts.caveat(content)}".strip(),
        f"Network {content['arch'] or 'from Python'}; {texts.labels_of(content).conditions(shared)}; {budget}.",
        texts.hint(content),
    )
    rows = []
    if content["measure"] == "accuracy":
        rows.append(["teacher", *(texts.teacher_value(content) for _ in content["columns"])])
    for method in content["methods"]:
        found = [texts.summary_row(content, method, column) for column in content["columns"]]
        rows.append([method, *(_cell(row, content) for row in found)])
    return TextTable("\n".join(caption for caption in captions if caption), ["method", *content["columns"]], rows)


def _variety(content: dict) -> TextTable:
    head = ["method", *texts.VARIETY_COLUMNS.values()]
    return TextTable(f"{texts.variety_title(content)}.", head, texts.variety_rows(content))


def _cell(row: dict, content: dict) -> str:
    figures = " ".join(part for part in (texts.value(row, content["measure"]), texts.difference(row, content)) if part)
    parts = (figures, texts.prediction(row, content), texts.seconds(row), texts.missing(row))
    return ", ".join(part for part in parts if part)


def _markdown_table(table: TextTable) -> str:
    lines = [table.head, ["---", *("---:" for _ in table.head[1:])], *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex_table(table: TextTable) -> str:
    lines = [" & ".join(map(_escaped, row)) + r" \\" for row in (table.head, *table.rows)]
    columns = "l" + "r" * (len(table.head) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{_escaped(' '.join(table.caption.split()))}}}",
            f"\\begin{{tabular}}{{{columns}}}",
            *(r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _escaped(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text).replace("--", "-{}-")  # It would be a dash.
