"""Files of torch.save are looked through before torch reads them: `check_torch_file`."""

import mmap
import zipfile
from io import BytesIO
from pathlib import Path

from dfq.system.declared_sizes import check_declared, check_zip
from dfq.system.pickle_scan import scan_pickles

ZIP_MARK = b"PK"
PICKLE = "/data.pkl"
LEGACY_PICKLES = 4  # a number, a version, the system, and the object; the bytes of storages stand behind them


def check_torch_file(path: Path) -> None:
    """Raises an exception where reading a file would take far more memory than it has bytes, or never end.

    torch compares neither checksums nor the sizes of storages with the file.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_MARK)) == ZIP_MARK
    if is_zip:
        _check_zip_format(path)
    else:
        _check_legacy_format(path)


def _check_zip_format(path: Path) -> None:
    sizes = check_zip(path)
    pickles = [name for name in sizes if name.endswith(PICKLE)]
    if not pickles:
        raise ValueError("it holds no pickle")
    with zipfile.ZipFile(path) as archive:
        for name in pickles:
            folder = name.removesuffix(PICKLE)

            def compare(key: str, size: int, folder: str = folder) -> None:
                held = sizes.get(f"{folder}/data/{key}", 0)
                if size > held:
                    raise ValueError(f"a storage of {size:,} bytes, of which it holds {held:,}")

            check_declared(scan_pickles(BytesIO(archive.read(name)), 1, compare), path.stat().st_size)


def _check_legacy_format(path: Path) -> None:
    held = path.stat().st_size
    sizes: dict[str, int] = {}

    def compare(key: str, size: int) -> None:
        sizes[key] = max(size, sizes.get(key, 0))
        if sum(sizes.values()) > held:
            raise ValueError(f"storages of {sum(sizes.values()):,} bytes, of which it holds {held:,}")

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        check_declared(scan_pickles(content, LEGACY_PICKLES, compare), held)
