"""Markdown of Python values: tables, code, and the texts of docstrings."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from dfq.cli.settings_options import descriptions

# Tables that have a page of their own: how docstrings name them, and where a reader finds them.
PAGES = {
    "dfq.quantizers.scheme.SCHEMES": ("schemes", "schemes.md"),
    "dfq.quantizers.targets.TARGETS": ("targets", "targets.md"),
    "METHODS": ("methods", "methods.md"),
    "STRATEGIES": ("strategies", "strategies.md"),
}


def code(text: object) -> str:
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A table; the columns `right` are aligned to the right. A column in which nothing stands is left out."""
    lines = [[_cell(value) for value in row] for row in rows]
    kept = [column for column in range(len(head)) if any(line[column] for line in lines)]
    rule = ["---:" if column in set(right) else "---" for column in range(len(head))]
    chosen = [[line[column] for column in kept] for line in ([_cell(text) for text in head], rule, *lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in chosen)


def _cell(text: str) -> str:
    """One line; a bar ends no cell where it is escaped."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(str(text).split()))


def from_rich(view: Table) -> str:
    """A table of the benchmarks, which they print with `rich`."""
    head = [_plain(column.header) for column in view.columns]
    right = [index for index, column in enumerate(view.columns) if column.justify == "right"]
    rows = zip(*([_plain(cell) for cell in column.cells] for column in view.columns), strict=True)
    return table([name or " " for name in head], rows, right)


def _plain(text: Any) -> str:
    return Text.from_markup(str(text)).plain


def title_of(view: Table) -> str:
    return _plain(view.title or "")


def first_paragraph(thing: object) -> str:
    """Of a docstring, in one line; empty where a class has none of its own."""
    if isinstance(thing, type) and thing.__dict__.get("__doc__") is None:
        return ""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def attributes(kind: type) -> dict[str, str]:
    """Name → what the section `Attributes:` of a docstring says on it, those of the bases included."""
    return descriptions(kind)


def linked(text: str, own: str = "") -> str:
    """Names of tables become links to their pages, but for the page `own`."""
    for name, (label, page) in PAGES.items():
        if page != own:
            text = text.replace(f"`{name}`", f"[{label}]({page})")
    return text


def sentence(text: str) -> str:
    """With a capital letter at the start, and a full stop at the end."""
    text = text.strip()
    first = text[:1] if "_" in text.partition(" ")[0] else text[:1].upper()
    return f"{first}{text[1:]}{'' if text.endswith(('.', ':', '!', '?')) else '.'}" if text else ""


def prose(text: str) -> str:
    """Text that was written for a terminal: options become code, and nothing is taken for markup (`*`, `_`, `<`)."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    text = re.sub(r"([*_<>])", r"\\\1", text)
    return re.sub(r"(?<![\w\\])(--[a-z]+(?:-[a-z]+)*)", r"`\1`", text)


def with_links(text: str) -> str:
    """Addresses without a scheme become links."""
    return re.sub(r"(?<![\w/])((?:[\w-]+\.)+(?:ai|co|com|org)/[\w./-]*\w)", r"[\1](https://\1)", text)


def value(found: Any) -> str:
    """A default or a setting, as code."""
    if is_dataclass(found) and not isinstance(found, type):
        return code(f"{type(found).__name__}({parameters(found).strip('`')})")
    if isinstance(found, Mapping):
        found = dict(found)
    elif isinstance(found, type):
        found = found.__name__
    elif isinstance(found, float):
        found = f"{found:.4g}"
    elif isinstance(found, str):
        found = f'"{found}"'
    return code(found)


def parameters(thing: Any) -> str:
    """The numbers and switches of a dataclass, without those that are off."""
    if not is_dataclass(thing):
        return ""
    found = {field.name: getattr(thing, field.name) for field in fields(thing)}
    on = {name: content for name, content in found.items() if isinstance(content, bool | int | float | str) and content}
    return code(", ".join(f"{name}={content:.4g}" if isinstance(content, float) else f"{name}={content}"
                          for name, content in on.items())) if on else ""  # fmt: skip


def definitions(facts: Iterable[tuple[str, str]]) -> str:
    """A list of terms with what there is to say on each; what is empty is left out."""
    return "\n\n".join(f"{name}\n:   {text}" for name, text in facts if text)
