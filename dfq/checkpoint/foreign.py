"""Recognises files of other programs that people take for checkpoints, so that the error can say what they are."""

from pathlib import Path

from dfq.errors import DfqError
from dfq.models.exported_archive import EXPORT_AGAIN

ONNX_SUFFIX = ".onnx"
FOREIGN_FORMATS = (  # the offset of some bytes, these bytes, and what a file with them is
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\x89HDF", "an HDF5 file (Keras)"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


def foreign_format(head: bytes) -> str:
    """Says what a file with these first bytes is."""
    for offset, mark, name in FOREIGN_FORMATS:
        if head[offset:].startswith(mark):
            return f"{name}, not a checkpoint"
    try:
        head.decode("ascii")
    except UnicodeDecodeError:
        return "not a checkpoint (unknown binary content)"
    return "a text file, not a checkpoint"


def onnx_error(path: Path) -> DfqError:
    """Returns the error for an ONNX file.

    No converter is used: onnx2torch, the known one, had its last release (1.5.15) in August 2024. It lacks ReduceMean
    and Split of opset 18, which torch's exporter has written since, and Conv of opset 22.
    """
    return DfqError(
        f"'{path}' is an ONNX file, which cannot be brought back into torch faithfully",
        "the network that it was exported from: dfq trains its layers",
        f"write that network as .pt2, which dfq reads alone: {EXPORT_AGAIN}; or save its weights and pass --arch",
    )
