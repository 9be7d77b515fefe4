"""One process at a time writes to a folder of results; a lock ends with the process that holds it, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dfq.errors import DfqError
from dfq.system.atomic_files import remove_leftovers
from dfq.system.output_paths import HOLDER, LOCK, check_writable, contents, make_folder
from dfq.system.processes import is_first

WRITTEN = "being written by another process"
FILE_LOCK = ".lock"  # what ends the name of the lock of a file
TRIES = 10  # to lock a file that another process removes at the same moment
PATIENCE = 0.5  # seconds for which a lock is asked for: a reader holds it for a moment
PAUSE = 0.01  # seconds between two such attempts


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made where it is missing, and removed again if nothing was written to it.

    Where several processes share a run, the first one holds it for all of them.

    Raises:
        DfqError: Another process holds the lock, writes a file in the folder (`writing_file_alone`), or the folder
            cannot be written to.
    """
    if not is_first():
        yield
        return
    check_writable(folder)
    was_there, holder = folder.is_dir(), folder / HOLDER
    make_folder(folder)
    lock = _locked(folder / LOCK)
    if lock is None:
        raise _busy(folder, f"in use by {_name(folder / HOLDER)}", "folder")
    try:
        for file in folder.glob(f".*{FILE_LOCK}"):
            if _is_held(file):
                raise _busy(folder / file.name.removeprefix(".").removesuffix(FILE_LOCK), WRITTEN, "file")
        holder.write_text(f"process {os.getpid()}", encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        _unlock(lock)
        if not was_there and not contents(folder):
            with suppress(OSError):  # another run may just have begun there
                folder.rmdir()


@contextmanager
def writing_file_alone(file: Path) -> Iterator[None]:
    """Holds the lock of a file that is to be written, a hidden file beside it, and removes what killed writes left.

    Where several processes share a run, the first one holds it for all of them.

    Raises:
        DfqError: Another process holds the lock, or that of the file's folder (`writing_alone`).
    """
    if not is_first():
        yield
        return
    lock = _locked(file.with_name(f".{file.name}{FILE_LOCK}"))
    if lock is None:
        raise _busy(file, WRITTEN, "file")
    try:
        check_not_written(file.parent)
        remove_leftovers([file])
        yield
    finally:
        _unlock(lock)


def check_not_written(folder: Path) -> None:
    """Raises `DfqError` where another process writes to a folder that is to be read."""
    if _is_held(folder / LOCK):
        raise _busy(folder, f"in use by {_name(folder / HOLDER)}", "folder")


def _busy(path: Path, state: str, kind: str) -> DfqError:
    """Returns the refusal of a path of that kind, "folder" or "file", which is in that state."""
    return DfqError(
        f"'{path}' is {state}",
        f"a {kind} that no other run writes to",
        f"wait until that run has ended, or choose another {kind} with --out",
        exit_code=1,
    )


def _is_held(path: Path) -> bool:
    """Returns whether another process holds a lock; one that nobody may write to is held by nobody."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        is_free = _takes(lock)
    except OSError:
        return False
    lock.release()
    return not is_free


def _locked(path: Path) -> FileLock | None:
    """Returns the lock that was taken; None where another process holds it."""
    for _ in range(TRIES):
        lock = FileLock(path)
        if not _takes(lock):
            return None
        # The former holder may have removed the file between its being opened and locked. Then nothing locks `path`.
        again = FileLock(path)
        if not _takes(again, patience=0.0):
            return lock
        again.release()
        lock.release()
    return None


def _takes(lock: FileLock, patience: float = PATIENCE) -> bool:
    """Takes a lock, and returns whether that succeeded within so many seconds.

    Whoever asks whether a lock is held takes it for a moment, which must not look like a run that holds it.
    """
    try:
        lock.acquire(timeout=patience, poll_interval=PAUSE)
    except Timeout:
        return False
    return True


def _unlock(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _name(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
