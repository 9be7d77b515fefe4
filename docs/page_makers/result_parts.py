"""What the tables of the results share."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from page_makers import markdown as md


@dataclass(frozen=True)
class Part:
    """A table with how it came about.

    Attributes:
        texts: the table, and sentences that belong to it.
        command: that measured it.
        measured: what holds `versions` and `hardware`.
        file: of the results.
    """

    heading: str
    texts: list[str]
    command: str
    measured: list[dict]
    file: str


@dataclass
class Collected:
    """Takes what a benchmark prints to a console: tables, and lines that are in colour because they matter."""

    tables: list[Table] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def print(self, found: Any, style: str = "") -> None:
        if isinstance(found, Table):
            self.tables.append(found)
        elif style in ("red", "yellow"):
            self.texts.append(str(found))


def titled(view: Table) -> str:
    return f"{md.title_of(view).removesuffix('; missed')}.\n\n{md.from_rich(view)}"


def rest_of_title(view: Table) -> str:
    """Behind the name of the profile, which the heading holds."""
    return md.sentence(md.title_of(view).partition(", ")[2])


def work(settings: dict) -> str:
    """What a profile sets for all methods alike."""
    fields = ", ".join(md.code(f"{name}={value}") for name, value in settings.items())
    return f"Work: {fields}" if fields else "Work: what each method does by default"


def by(key: str, rows: list[dict], order: Iterable[str]) -> Iterator[tuple[str, list[dict]]]:
    for name in order:
        if found := [row for row in rows if row[key] == name]:
            yield name, found


def grouped(rows: list[dict], keys: tuple[str, ...]) -> list[tuple[tuple, list[dict]]]:
    """Rows that are alike in all keys, in the order of the file."""
    found: dict[str, tuple[tuple, list[dict]]] = {}
    for row in rows:
        values = tuple(row[key] for key in keys)
        found.setdefault(json.dumps(values), (values, []))[1].append(row)
    return list(found.values())
