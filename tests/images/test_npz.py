"""Arrays of an `.npz` are refused before they take memory."""

import zipfile

import numpy as np
import pytest

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import read_labelled

SPEC = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))


def write(path, header: str, data: bytes = b"", version: bytes = b"\x01\x00"):
    text = header.encode().ljust(118) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("images", "labels"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000000,), }", "10,000,000,000,000 bytes"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "3 bytes by its shape, and 0"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (), }", "pickled Python objects"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (), 'extra': " + "9" * 20_000 + "}", "cannot be read"),
        ("(" * 60_000, "cannot be read"),
        ("{'descr': 3, 'fortran_order': False, 'shape': 'a', }", "cannot be read"),
    ],
)
def test_headers(tmp_path, header, found):
    write(tmp_path / "x.npz", header)
    with pytest.raises(DfqError, match=found):
        read_labelled(tmp_path / "x.npz", SPEC, 10)


def test_arrays_without_dimensions(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.uint8(3), labels=np.int64(3))
    with pytest.raises(DfqError, match="images of shape"):
        read_labelled(tmp_path / "x.npz", SPEC, 10)
