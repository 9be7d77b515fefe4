"""Tensors of an ONNX file whose numbers lie in another file: which of these files may be read."""

from pathlib import Path

import numpy as np
from onnx import TensorProto

from dfq.errors import DfqError

COPY_AGAIN = "copy or download the file again, or export the network again"


def external_file(tensor: TensorProto, path: Path) -> Path:
    """Returns the file that holds the numbers of a tensor of the ONNX file `path`, without links.

    It lies in the folder of the ONNX file. In the cache of Hugging Face both are links in one folder to files in
    another one: there, too, both have to lie in the same folder.

    Raises:
        DfqError: It lies elsewhere.
    """
    location = Path(next((entry.value for entry in tensor.external_data if entry.key == "location"), ""))
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    is_plain = location.name and not location.is_absolute() and ".." not in location.parts
    is_inside = file.is_relative_to(folder) and file != folder
    is_beside = path.is_symlink() and file.parent == path.resolve().parent
    if not is_plain or not (is_inside or is_beside):
        raise DfqError(
            f"'{path}' keeps tensor '{tensor.name}' in '{location}', outside of its own folder",
            "external data beside the file",
            "save the network again with its data beside it",
        )
    return file


def is_elsewhere(tensor: TensorProto, path: Path) -> bool:
    """Returns whether links lead to the numbers of a tensor: ONNX Runtime may refuse to follow them."""
    return not external_file(tensor, path).is_relative_to(path.parent.resolve())


def external_array(tensor: TensorProto, path: Path, kind: np.dtype, count: int) -> np.ndarray:
    """Reads the numbers of a tensor of the ONNX file `path` from another file.

    Raises:
        DfqError: That file may not be read, is missing, or is too short.
    """
    file, entries = external_file(tensor, path), {entry.key: entry.value for entry in tensor.external_data}
    if not file.is_file():  # A pipe would block for ever.
        raise DfqError(f"'{path}' needs '{file.name}', which is no file", "all files of the network", COPY_AGAIN)
    offset = int(entries.get("offset", 0))
    if offset < 0 or offset + count * kind.itemsize > file.stat().st_size:
        raise DfqError(f"'{file}' is shorter than '{path.name}' says", "all files of the network", COPY_AGAIN)
    return np.fromfile(file, dtype=kind, count=count, offset=offset).reshape(tuple(tensor.dims))
