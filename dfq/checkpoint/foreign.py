"""Recognises files of other programs that people take for checkpoints, so that the error can say what they are."""

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
