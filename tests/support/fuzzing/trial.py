"""Tries one input."""

import shutil
from pathlib import Path

from support.fuzzing.kinds import Files, Kind
from support.fuzzing.outcome import Outcome, attempt
from support.fuzzing.pickles import MARKER


def try_file(kind: Kind, content: Files, folder: Path) -> Outcome:
    """Writes a file, or a folder of files, and reads it as a command would.

    Args:
        kind: The kind of file.
        content: What it holds.
        folder: A folder, which is made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / kind.name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        for name, each in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(each)
    outcome = attempt(lambda: kind.read(path))
    assert not MARKER.exists(), "code from the file ran"
    return outcome
