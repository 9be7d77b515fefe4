"""Strategies for labelled images: `.npz` files, and folders of image files."""

import io

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from support.fuzzing.damage import damaged_bytes, damaged_zip

SIDE = 8  # of the network's images
SHAPES = ((), (0,), (4,), (4, 8, 8), (4, 8, 8, 1), (4, 1, 8, 8), (4, 9, 9, 1), (0, 8, 8, 1), (1,) * 32)
TYPES = ("uint8", "int64", "float32", "complex64", "bool", "U7", "S3", "M8[s]", "V5", "uint64")
MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LA", "HSV", "YCbCr")
SIZES = ((8, 8), (1, 1), (1, 5000), (5000, 1), (9000, 9000), (300, 200))
FORMATS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "pgm": "PPM", "webp": "WEBP"}
HEADERS = (
    "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000,), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (1, -4), }",
    "{'descr': '|V999999999', 'fortran_order': False, 'shape': (0,), }",
    "{'descr': [('a', '<f8', (99999, 99999))], 'fortran_order': False, 'shape': (), }",
    "{" * 30_000,
    "9" * 50_000,
)


def saved(images: np.ndarray, labels: np.ndarray, compressed: bool = False) -> bytes:
    written = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(written, images=images, labels=labels)
    return written.getvalue()


def odd_arrays() -> st.SearchStrategy[bytes]:
    """Returns `.npz` files with arrays of any type and shape, odd headers, and damage."""
    array = st.builds(np.zeros, st.sampled_from(SHAPES), st.sampled_from(TYPES))
    whole = saved(np.zeros((4, SIDE, SIDE, 1), np.uint8), np.arange(4))
    with_header = st.tuples(
        st.sampled_from(HEADERS), st.sampled_from((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    )

    def entry(name: str, content: bytes) -> st.SearchStrategy[bytes]:
        return st.one_of(damaged_bytes(content), with_header.map(lambda pair: header(*pair)))

    return st.one_of(
        st.builds(saved, array, array, st.booleans()),
        st.integers(-(2**63), 2**63 - 1).map(
            lambda label: saved(np.zeros((2, SIDE, SIDE), np.uint8), np.array([0, label]))
        ),
        damaged_zip(whole, entry),
    )


def header(text: str, version: bytes) -> bytes:
    """Returns an array's file with this header."""
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + text.encode()


def picture(mode: str, size: tuple[int, int], suffix: str) -> bytes:
    """Returns an image file, or an empty one where the format has no such mode."""
    written = io.BytesIO()
    try:
        Image.new(mode, size).save(written, FORMATS[suffix])
    except (OSError, KeyError, ValueError):
        return b""
    return written.getvalue()


def odd_folders() -> st.SearchStrategy[dict[str, bytes]]:
    """Returns folders of two classes with odd, huge and damaged images."""
    suffixes = st.sampled_from(sorted(FORMATS))
    whole = st.tuples(suffixes, st.sampled_from(MODES), st.sampled_from(SIZES)).map(
        lambda each: (each[0], picture(each[1], each[2], each[0]))
    )
    damaged = suffixes.flatmap(
        lambda suffix: damaged_bytes(picture("L", (SIDE, SIDE), suffix)).map(lambda content: (suffix, content))
    )
    files = st.lists(st.one_of(whole, damaged), min_size=1, max_size=3)
    return files.map(lambda each: {f"{i % 2}/{i}.{suffix}": content for i, (suffix, content) in enumerate(each)})
