"""Checks where results go before any work starts, so that nobody waits for an error."""

import os
import tempfile
from pathlib import Path

from dfq.errors import DfqError
from dfq.system.processes import is_first

# A run's lock, and who holds it; a run that was killed leaves both, and they keep nobody out.
LOCK, HOLDER = ".lock", ".locked-by"
ROOM = "." * 16  # what locks and temporary files add to a name
SHOWN = 80  # number of characters of a path that cannot be used that are shown


def contents(folder: Path) -> list[Path]:
    """Returns what a folder holds besides the files of its lock; nothing where there is no such folder."""
    return [path for path in folder.iterdir() if path.name not in (LOCK, HOLDER)] if folder.is_dir() else []


def check_name(path: Path) -> None:
    """Raises `DfqError` where a name is too long for the file system, or holds characters that it does not take.

    There must also be room for the endings of temporary files and locks beside a file.
    """
    try:
        os.lstat(path)
        os.lstat(path.with_name(path.name + ROOM) if path.name else path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    except (OSError, ValueError) as error:
        raise DfqError(
            f"a path that cannot be used: {getattr(error, 'strerror', None) or error}: '{str(path)[:SHOWN]}'",
            "a name that the file system takes",
            "choose a shorter one",
        ) from error


def check_folder(folder: Path, *, overwrite: bool, resume: bool | None = None) -> None:
    """Raises `DfqError` if a command cannot write to `folder`, or would change what is there; writes nothing.

    Where several processes share a run, only the first one writes, and checks.

    Args:
        resume: Whether an earlier run is to be continued; None where the command has no such option.
    """
    if not is_first():
        return
    check_name(folder)
    if folder.exists() and not folder.is_dir():
        raise DfqError(f"'{folder}' is a file", "a folder for the results", "choose another with --out")
    check_writable(folder)
    if contents(folder) and not (overwrite or resume):
        resuming = "or " if resume is None else "continue that run with --resume, or "
        raise DfqError(
            f"'{folder}' exists and is not empty",
            "a new or an empty folder, so that nothing is lost",
            f"choose another with --out, {resuming}replace it with --overwrite",
        )


def check_file(file: Path, *, overwrite: bool) -> None:
    """Raises `DfqError` if `file` cannot be written, or if it exists and must not be replaced.

    Where several processes share a run, only the first one writes, and checks.
    """
    if not is_first():
        return
    check_name(file)
    if file.is_dir():
        raise DfqError(f"'{file}' is a folder", "the name of a file", "choose another with --out")
    check_writable(file.parent)
    if file.exists() and not overwrite:
        raise DfqError(f"'{file}' exists", "a new name, so that nothing is lost", "choose another, or --overwrite")


def check_writable(folder: Path) -> None:
    """Raises `DfqError` if a file cannot be written to `folder`.

    It tries to write one, because permissions, read-only disks and quotas have too many forms to ask for.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise DfqError(
            f"cannot write to '{existing}': {error.strerror or error}",
            "a folder with write permission and free space",
            "choose another with --out",
            exit_code=1,
        ) from error


def make_folder(folder: Path) -> None:
    """Makes a folder that `check_writable` has checked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DfqError(
            f"cannot make '{folder}': {error.strerror or error}",
            "a place with write permission",
            "choose another with --out",
            exit_code=1,
        ) from error
