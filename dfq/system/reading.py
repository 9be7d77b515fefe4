"""What goes wrong while a file is read becomes one clear error that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfq.errors import DfqError

LONGEST = 160  # number of characters of a reader's own message that are shown


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
        raise DfqError(
            f"'{path}' cannot be read: {type(error).__name__}{': ' + reason if reason else ''}", needed, way_out
        ) from error
