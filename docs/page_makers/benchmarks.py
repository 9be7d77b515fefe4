"""The benchmarks: their results, their own code for tables, and where and when they were measured."""

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


def module(name: str) -> ModuleType:
    """Returns a module of the folder, such as "accuracy.table"."""
    sys.path.insert(0, str(ROOT))
    try:
        return import_module(f"{FOLDER.name}.{name}")
    finally:
        sys.path.remove(str(ROOT))


@cache
def content(name: str) -> Any:
    return json.loads((FOLDER / "results" / name).read_text())


def provenance(command: str, measured: Iterable[dict], name: str) -> str:
    """How the figures of a table came about: the command, and versions, hardware and date.

    Args:
        measured: what holds `versions` and `hardware`: the rows, or the whole content of the file.
        name: of the file of results.
    """
    measured = list(measured)
    facts = [
        _packages([row["versions"] for row in measured if "versions" in row]),
        _machines([row.get("hardware") for row in measured], [row.get("threads") for row in measured]),
        f"`benchmarks/results/{name}`, last changed: {date(name)}",
    ]
    told = " · ".join(fact for fact in facts if fact)
    return f'<div class="provenance" markdown>\n\n`{command}`\n\n{told}.\n\n</div>'


def _packages(versions: list[dict]) -> str:
    """Every package that has a version, with all versions that the rows were made with."""
    found: dict[str, dict[str, None]] = {}
    for one in versions:
        for package, number in one.items():
            found.setdefault(package, {}).update({number: None} if number else {})
    return ", ".join(f"{package} {' and '.join(sorted(numbers))}" for package, numbers in found.items() if numbers)


def _machines(hardware: list, threads: list) -> str:
    """Each machine once, with the numbers of threads that were used there."""
    found: dict[str, set[int]] = {}
    for one, count in zip(hardware, threads, strict=True):
        if isinstance(one, dict):
            on = one["accelerator"] or f"{one['processor']}, {one['cores']} cores"
            found.setdefault(on, set()).add(one["threads"])
        elif one is not None:
            found.setdefault(one, set()).add(count)
    return "; ".join(f"{on}, threads: {' and '.join(map(str, sorted(counts)))}" for on, counts in found.items())


@cache
def date(name: str) -> str:
    """Of the last commit that changed a file of results, as YYYY-MM-DD; "unknown" without git."""
    command = ["git", "log", "-1", "--format=%cs", "--", f"benchmarks/results/{name}"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found or "unknown"
