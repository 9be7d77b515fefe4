"""What a file declares is compared with what it holds before anything of it is read into memory."""

import zipfile
from pathlib import Path

from dfq.system.settings import DeclaredSizeSettings

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Others may ask for gigabytes for their dictionaries.
MAX_NAME = 80  # number of characters of an entry's name that are shown


def check_declared(declared: int, held: int, *, settings: DeclaredSizeSettings = DeclaredSizeSettings()) -> None:
    """Raises `ValueError` where a file of `held` bytes declares far more bytes than that."""
    if declared > max(settings.free_bytes, held * settings.most_times):
        raise ValueError(f"it declares {_size(declared)} and is a file of {_size(held)}")


def check_zip(path: Path) -> dict[str, int]:
    """Returns the names of a zip file's entries, and the number of bytes of each; all of them are whole.

    Raises:
        ValueError: A name occurs twice, an entry is damaged or compressed in an unusual way, or the entries are far
            larger than the file. `zipfile` raises other errors for damage.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        sizes = {entry.filename: entry.file_size for entry in entries}
        if len(sizes) < len(entries):
            raise ValueError("two of its entries have the same name")
        unusual = [entry.filename for entry in entries if entry.compress_type not in METHODS]
        if unusual:
            raise ValueError(f"its entry '{unusual[0][:MAX_NAME]}' is compressed in an unusual way")
        check_declared(sum(sizes.values()), path.stat().st_size)
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its entry '{damaged[:MAX_NAME]}' is wrong")
    return sizes


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 10**8 else f"{count:,} bytes"
