"""Files of torch.save are refused before they take memory, and before torch reads beyond their end."""

import argparse
import codecs
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from support.checkpoint_cases import ARCH, refused

from dfq.system.declared_sizes import check_declared, check_zip
from dfq.system.torch_file import check_torch_file

GIGABYTES = 6 * 10**9


class Call:
    """Is pickled as a call of a function with these arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def nested_key(depth):
    key = ()
    for _ in range(depth):
        key = (key, key)
    return key


def with_pickle(path, content):
    """Writes a file of torch.save that holds this object besides a tensor, with checksums that are right."""
    torch.save({"w": torch.zeros(3, 3)}, path)
    written = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w") as archive:
        for name in source.namelist():
            is_pickle = name.endswith("data.pkl")
            archive.writestr(name, pickle.dumps(content, protocol=2) if is_pickle else source.read(name))
    path.write_bytes(written.getvalue())


HOSTILE = {
    "bytearray": Call(bytearray, GIGABYTES),
    "tensor": Call(torch.FloatTensor, GIGABYTES),
    "storage": Call(torch.UntypedStorage, GIGABYTES),
    "text that doubles": Call(codecs.encode, Call(codecs.encode, "a", "hex"), "hex"),
    "NumPy type": Call(np.dtype, "V2000000000"),
    "set of keys that never end": Call(set, [nested_key(60)]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_call_that_would_take_memory_or_time(what, path):
    if what == "set of keys that never end":
        pickled = b"\x80\x02c__builtin__\nset\n]" + b")" + b"q\x00h\x00\x86" * 60 + b"a\x85R."
        with_pickle(path, None)
        content = {name: zipfile.ZipFile(path).read(name) for name in check_zip(path)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, old in content.items():
                archive.writestr(name, pickled if name.endswith("data.pkl") else old)
    else:
        with_pickle(path, {"x": HOSTILE[what]})
    assert "truncated or damaged" in refused(path, arch=ARCH).found


@pytest.mark.parametrize("legacy", [False, True])
def test_an_expanded_giant(path, legacy):
    content = {"conv1.weight": torch.zeros(1).expand(10**6, 10**6)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert "it declares 4,000.0 GB" in refused(path, arch=ARCH).found


def test_a_storage_that_is_declared_larger_than_it_is(path):
    torch.save({"w": torch.zeros(1000)}, path)
    written = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(written, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, b"1234" if name.endswith("data/0") else source.read(name))
    path.write_bytes(written.getvalue())
    assert "a storage of 4,000 bytes, of which it holds 4" in refused(path).found


@pytest.mark.parametrize("legacy", [False, True])
def test_what_people_keep_in_checkpoints_passes(path, model, legacy):
    content = {
        "state_dict": model.state_dict(),
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "args": argparse.Namespace(arch="x"),
        "others": (np.float64(3), b"bytes", bytearray(b"bytes"), {1, 2}, (1, (2, 3)), 2**60),
        "parameter": model.conv1.weight,
        "network": model,
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    check_torch_file(path)


def test_zip_files(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(30):
            archive.writestr(f"a{index}", bytes(10**7))
    with pytest.raises(ValueError, match="it declares"):
        check_zip(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"1")
    with pytest.raises(ValueError, match="unusual way"):
        check_zip(path)
    with pytest.warns(UserWarning), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(ValueError, match="same name"):
        check_zip(path)
    check_declared(2**28, 1)
    check_declared(2**34, 2**30)
