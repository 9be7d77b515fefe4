"""Atomic writes: a name either holds a whole file or does not exist."""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from dfq.errors import DfqError

# safetensors and torch report a full disk by exceptions of their own.
WRITE_FAILURES = (OSError, SafetensorError, RuntimeError)
RANDOM = "?" * 8  # what `tempfile` puts into a name


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes the temporary files of these paths that killed writes left; nothing else may write to them now."""
    for path in paths:
        for temporary in path.parent.glob(f".{glob.escape(path.name)}.{RANDOM}{glob.escape(path.suffix)}"):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; renames that file to `path` if the block succeeds, else removes it.

    Raises:
        DfqError: There is no permission or no space, or the file system fails in another way.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except WRITE_FAILURES as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise DfqError(
            f"cannot write '{path}': {reason}",
            "a folder with write permission and enough free space",
            "choose another folder with --out, or free some space",
            exit_code=1,
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
