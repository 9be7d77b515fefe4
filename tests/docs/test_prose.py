"""Docstrings are sentences: what they say of arguments and attributes begins and ends as a sentence does."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("dfq", "calibration", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
SECTIONS = re.compile(r"^(?:Attributes|Args|Raises):\n(.*?)(?=^\S|\Z)", re.DOTALL | re.MULTILINE)
ENTRY = re.compile(r"^ {4}(\*{0,2}\w+(?:, \w+)*): (.*?)(?=^ {4}\*{0,2}\w+(?:, \w+)*: |\Z)", re.DOTALL | re.MULTILINE)
ENDS = (".", ".)", "!", "?", ":", "…", "```")
# What once stood for a plain word; the keys of old results keep some of it.
RIDDLES = re.compile(r"\b(?:lets? expect|by heart|at their word|MOST_|LEAST_|FEWEST_|Jury|jury|Lesson)")


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the name and the docstring of the module and of everything in it."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), text


def faults(path: Path) -> Iterator[str]:
    for name, text in docstrings(path):
        first = text.split("\n\n")[0].strip()
        if not first.endswith(ENDS):
            yield f"{name}: its first paragraph has no full stop: {first[-40:]!r}"
        if not path.is_relative_to(ROOT / "benchmarks") and (found := RIDDLES.search(text)):
            yield f"{name}: {found[0]!r}"
        for section in SECTIONS.findall(inspect.cleandoc(text)):
            for entry, about in ENTRY.findall(section):
                about = " ".join(about.split())
                if re.match(r"[a-z]+\b(?!\.\w)", about):  # `torch.export` and τ² may stand first
                    yield f"{name}.{entry} begins with a small letter: {about[:40]!r}"
                if not about.endswith(ENDS):
                    yield f"{name}.{entry} has no full stop: {about[-40:]!r}"


@pytest.mark.parametrize("folder", ["dfq", "calibration", "export", "benchmarks"])
def test_docstrings_are_sentences(folder):
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in FILES
        if path.is_relative_to(ROOT / folder)
        for fault in faults(path)
    ]
    assert not found, "\n".join(found)


def test_a_fragment_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""A module."""\n\ndef f(rate):\n    """Adds\n\n    Args:\n        rate: of Adam\n    """\n')
    assert [fault.split(":")[0] for fault in faults(path)] == [
        "f",
        "f.rate begins with a small letter",
        "f.rate has no full stop",
    ]
