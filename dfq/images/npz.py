"""Reads arrays of an `.npz` file, after their declared sizes were compared with the file's."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from dfq.system.declared_sizes import check_zip

SUFFIX = ".npy"  # of the entries of the zip file


def read_arrays(path: Path, names: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    """Returns the arrays of these names, in order, and the names of all arrays; no array where one is missing.

    Pickled arrays are never opened, because they run code.

    Raises:
        Exception: The file is damaged, hostile, or holds pickled arrays (`dfq.system.reading.reading`).
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a whole .npz file")
    sizes = check_zip(path)
    present = [name.removesuffix(SUFFIX) for name in sizes]
    if any(name not in present for name in names):
        return [], present
    with zipfile.ZipFile(path) as archive:
        for name in names:
            with archive.open(f"{name}{SUFFIX}") as entry:
                _check_header(entry, name, sizes[f"{name}{SUFFIX}"])
    with np.load(path, allow_pickle=False) as file:
        return [file[name] for name in names], present


def _check_header(entry: IO[bytes], name: str, size: int) -> None:
    """Raises `ValueError` where the header declares an array of another size than the entry has behind it."""
    version = np.lib.format.read_magic(entry)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(entry)
    if kind.hasobject:
        raise ValueError("it holds pickled Python objects")
    declared, held = math.prod(shape) * kind.itemsize, size - entry.tell()
    if declared != held:
        raise ValueError(f"'{name}' has {declared:,} bytes by its shape, and {held:,} in the file")
