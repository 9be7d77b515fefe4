"""Takes the folders of a person's machine out of what a page shows, which others are to read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def without_private_paths(report: Mapping, folder: Path) -> dict:
    """Returns the content of a report, in which files of this machine have their name alone.

    The folders that are left out are the run's, the network's, the one that dfq was started in, and the person's own.

    Args:
        report: The content of `report.json`.
        folder: The run folder.
    """
    arch = Path(report["arch"]).parent if report["arch"] and Path(report["arch"]).is_absolute() else None
    known = [folder.resolve(), folder.resolve().parent, arch, Path.cwd(), _home()]
    prefixes = {f"{place}{os.sep}" for place in known if place is not None and place != Path(place.anchor)}
    longest_first = sorted(prefixes, key=len, reverse=True)
    return {key: _cleaned(value, longest_first) for key, value in report.items()}


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # Nobody knows it.
        return None


def _cleaned(value: Any, prefixes: list[str]) -> Any:
    if isinstance(value, str):
        for prefix in prefixes:
            value = value.replace(prefix, "")
        return value
    if isinstance(value, Mapping):
        return {_cleaned(key, prefixes): _cleaned(each, prefixes) for key, each in value.items()}
    return [_cleaned(each, prefixes) for each in value] if isinstance(value, list) else value
