"""For mkdocstrings: an entry of a docstring that names several arguments becomes an entry for each."""

import re
from typing import Any

from griffe import Extension, Object

SHARED = re.compile(r"^ {4}(\w+(?:, \w+)+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


class SharedEntries(Extension):
    """`mean, std: per channel` → `mean: per channel` and `std: per channel`."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = SHARED.sub(_entries, obj.docstring.value)


def _entries(found: re.Match) -> str:
    names, text = found.groups()
    return "\n".join(f"    {name}: {text}" for name in names.split(", "))
