"""What goes wrong while a file is read becomes one clear error that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfq.errors import DfqError

LONGEST = 160  # number of characters of a reader's own message that are shown


def check_is_file(path: Path, needed: str, way_out: str) -> None:
    """Raises `DfqError` where there is no file, or something that would block for ever, such as a pipe.

    Args:
        path: Path of the file.
        needed: What dfq needs there.
        way_out: What a person can do where nothing is there.
    """
    with reading(path, needed, way_out):
        if path.is_file():
            return
        exists = path.exists()
    if exists:
        raise DfqError(f"'{path}' is no file, but a folder, a pipe or a device", needed, "name a file on disk")
    raise DfqError(f"no file '{path}'", needed, way_out)


@contextmanager
def reading(path: Path, needed: str = "the file as dfq wrote it", way_out: str = "repeat the run") -> Iterator[None]:
    """Turns any exception of a reader into a `DfqError`, which names the file.

    Files come from elsewhere, or were damaged: whatever a reader trips over is the file's fault, and no bug.

    Args:
        path: The file.
        needed: What dfq needs instead.
        way_out: What a person can do.

    Raises:
        DfqError: The block raised anything else than that.
    """
    try:
        yield
    except (DfqError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:LONGEST]
        kind = "" if type(error) is ValueError and reason else type(error).__name__
        said = ": ".join(part for part in (kind, reason) if part)
        raise DfqError(f"'{path}' cannot be read: {said}", needed, way_out) from error
