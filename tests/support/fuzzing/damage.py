"""Strategies for damage that any file can have: bytes, JSON, and the entries of a zip file."""

import copy
import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st

NAUGHTY = ("", "\x1b[31mred\x1b[0m", "a" * 10**6, "../../etc/passwd", "\x00", "²", "NaN", "1e400", "[/bold]", "\u202e")
NUMBERS = (
    0,
    1,
    -1,
    2,
    255,
    1400,
    9000,
    2**31,
    2**63,
    -(2**63),
    10**19,
    10**400,
    0.5,
    1e308,
    -0.0,
    float("nan"),
    float("inf"),
)


def plain_values(nested: bool = True) -> st.SearchStrategy[Any]:
    """Returns values that JSON can hold, odd ones first of all."""
    leaves = st.one_of(
        st.sampled_from((None, True, False)),
        st.sampled_from(NUMBERS),
        st.sampled_from(NAUGHTY),
        st.integers(),
        st.text(max_size=20),
    )
    if not nested:
        return leaves
    return st.recursive(
        leaves,
        lambda each: st.one_of(
            st.lists(each, max_size=4), st.dictionaries(st.text(max_size=8), each, max_size=4), st.just([[[[]]]])
        ),
        max_leaves=6,
    )


def places(value: Any, before: tuple = ()) -> list[tuple]:
    """Returns the paths to everything in a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [before, *(place for key, each in inner for place in places(each, (*before, key)))]


def changed(value: Any, place: tuple, new: Any) -> Any:
    """Returns a copy in which something else stands at a place; `...` removes what is there."""
    if not place:
        return new
    value = copy.deepcopy(value)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    if new is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = new
    return value


def damaged_json(content: Any) -> st.SearchStrategy[bytes]:
    """Returns texts of the same JSON value with one or two changes, and texts that are no JSON."""

    def change(place: tuple) -> st.SearchStrategy[Any]:
        new = st.one_of(plain_values(), *([st.just(...)] if place else []))
        return new.map(lambda each: changed(content, place, each))

    whole = st.sampled_from(places(content)).flatmap(change).map(lambda each: json.dumps(each).encode("utf-8"))
    broken = st.sampled_from((b"", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b"9" * 5000, b"{}"))
    return st.one_of(whole, broken, damaged_bytes(json.dumps(content).encode()))


def damaged_bytes(content: bytes) -> st.SearchStrategy[bytes]:
    """Returns the content with bytes that were changed, cut off, left out, repeated or added."""
    where = st.integers(0, max(len(content) - 1, 0))

    def change(values: tuple[int, int, bytes, str]) -> bytes:
        start, length, new, how = values
        if how == "cut":
            return content[:start]
        if how == "replace":
            return content[:start] + new + content[start + len(new) :]
        if how == "insert":
            return content[:start] + new + content[start:]
        if how == "remove":
            return content[:start] + content[start + length :]
        return content[: start + length] + content[start:]

    how = st.sampled_from(("replace", "cut", "insert", "remove", "repeat"))
    return st.tuples(where, st.integers(1, 300), st.binary(min_size=1, max_size=12), how).map(change)


def entries_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_of(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Returns a zip file with right checksums."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, entry in entries.items():
            archive.writestr(name, entry)
    return written.getvalue()


@cache
def bomb(content: bytes) -> bytes:
    """Returns a small zip file whose largest entry becomes 300 MB of zeros."""
    entries = entries_of(content)
    largest = max(entries, key=lambda name: len(entries[name]))
    return zip_of({**entries, largest: bytes(3 * 10**8)}, zipfile.ZIP_DEFLATED)


def damaged_zip(
    content: bytes, of_entry: Callable[[str, bytes], st.SearchStrategy[bytes]] | None = None
) -> st.SearchStrategy[bytes]:
    """Returns damaged bytes, and zip files with right checksums of which an entry is changed, missing or a bomb."""
    entries = entries_of(content)
    of_entry = of_entry or (lambda name, entry: damaged_bytes(entry))
    names = st.sampled_from(sorted(entries))
    return st.one_of(
        damaged_bytes(content),
        names.flatmap(lambda name: of_entry(name, entries[name]).map(lambda new: zip_of({**entries, name: new}))),
        names.map(lambda name: zip_of({key: entry for key, entry in entries.items() if key != name})),
        st.builds(bomb, st.just(content)),
        names.map(lambda name: zip_of({**entries, f"{name}2": b"more"}, zipfile.ZIP_LZMA)),
    )
