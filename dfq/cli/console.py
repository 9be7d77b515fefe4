"""Writes tables, facts and errors to the terminal.

Results go to standard output; progress, notes and errors go to standard error.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dfq.errors import DfqError, printable
from dfq.system.terminal_progress import stderr

if TYPE_CHECKING:  # The import would load torch, which an error message does not need.
    from dfq.results.verdict import Sentence

stdout = Console(highlight=False)


def show_error(error: DfqError) -> None:
    """Shows the three parts of an error on standard error, in a panel with a red title on a terminal."""
    parts = Table.grid(padding=(0, 1))
    parts.add_column(style="bold", no_wrap=True)
    parts.add_column(overflow="fold")
    for name, text in (("found", error.found), ("needed", error.needed), ("way out", error.way_out)):
        if text:
            parts.add_row(f"{name}:", Text(text))
    if not stderr.is_terminal:  # Logs and scripts get plain lines that can be searched.
        stderr.print(str(error), markup=False, soft_wrap=True)
        return
    stderr.print(Panel(parts, title="[bold red]dfq cannot go on[/]", title_align="left", border_style="red"))


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """Returns a table of text; the first `left` columns are aligned to the left, the others to the right."""
    made = Table(
        title=None if title is None else Text(printable(title), "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for index, name in enumerate(columns):
        made.add_column(Text(printable(name)), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def verdict(sentences: Sequence["Sentence"]) -> None:
    """Prints the sentences that a result begins with.

    Loud sentences are red, the first one is bold, and a dot stands in front of the others.
    """
    for index, sentence in enumerate(sentences):
        style = "bold red" if sentence.is_loud else "bold" if index == 0 else ""
        grid = Table.grid(padding=(0, 1))
        if index:
            grid.add_column(no_wrap=True)
        grid.add_column()
        grid.add_row(*["·"][:index], Text(printable(sentence.text), style))
        stdout.print(grid)


def headline(text: str, style: str) -> None:
    """Prints the sentence that everything else explains."""
    stdout.print(Text(printable(text), style))


def fact(name: str, text: str) -> None:
    """Prints a name and a text in one line; a long text wraps behind the name."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True, width=16)
    grid.add_column(overflow="fold")
    grid.add_row(name, Text(printable(text)))
    stdout.print(grid)


def facts(name: str, texts: Sequence[str]) -> None:
    """Prints a line for each text; the name stands in front of the first one."""
    for index, text in enumerate(texts):
        fact(name if index == 0 else "", text)
