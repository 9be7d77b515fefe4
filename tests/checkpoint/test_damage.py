"""Files that are missing, damaged or of another kind: one clear error each, with exit code 2."""

import os
import zipfile
from functools import partial

import numpy
import pytest
import torch
from safetensors.torch import save_file
from support.checkpoint_cases import ARCH, refused

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import read_labelled
from dfq.models.settings import SuggestSettings
from dfq.models.suggest import suggest


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """What a suggestion would be is of no interest here."""
    monkeypatch.setattr("dfq.checkpoint.arch.suggest", partial(suggest, settings=SuggestSettings(seconds=0.1)))


def test_missing_file(path):
    error = refused(path)
    assert f"no file '{path}'" in error.found and "check the path" in error.way_out


def test_directory_names_what_is_in_it(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "inside.pt")
    error = refused(tmp_path)
    assert "is a directory" in error.found and "inside.pt" in error.way_out


def test_empty_file(path):
    path.touch()
    error = refused(path)
    assert "is empty (0 bytes)" in error.found and "again" in error.way_out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(path):
    path.touch(mode=0o000)
    assert "cannot be read" in refused(path).found


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_truncated_torch_file(path, model, legacy, share):
    torch.save({"arch": ARCH, "state_dict": model.state_dict()}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: max(int(len(content) * share), 40)])
    error = refused(path)
    assert "truncated or damaged" in error.found and "again" in error.way_out


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.99])
def test_truncated_safetensors(tmp_path, model, share):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: max(int(len(content) * share), 4)])
    assert "truncated or not a safetensors file" in refused(path, arch=ARCH).found


def test_damaged_bytes_never_escape(path, model):
    """Whatever torch makes of random damage, the caller sees a DfqError or a whole network."""
    torch.save({"arch": ARCH, "state_dict": model.state_dict()}, path)
    content = path.read_bytes()
    generator = numpy.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), size=20):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except DfqError:
            continue


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200), "a JPEG image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(50), "a TensorFlow Lite file"),
        (b"these are not weights\n" * 9, "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"{}", "a text file"),
        (bytes(range(200, 256)) * 4, "unknown binary content"),
        (b"\x00", "a text file"),
    ],
)
def test_foreign_file(path, content, what):
    path.write_bytes(content)
    error = refused(path, arch=ARCH)
    assert what in error.found and "not" in error.found and "state dict" in error.needed


def test_zip_that_is_no_checkpoint(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "a zip archive, not a checkpoint" in refused(path).found


def test_onnx_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a" + bytes(50))
    error = refused(path)
    assert "damaged or no ONNX file" in error.found and "export" in error.way_out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("allow_pickle", [False, True])
def test_torchscript(path, model, allow_pickle):
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, 1, 8, 8)), path)
    error = refused(path, arch=ARCH, allow_pickle=allow_pickle)
    assert "TorchScript" in error.found and "torch.jit.load" in error.way_out


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_flipped_bit_among_the_weights_is_found(path, model, share):
    """torch checks no checksum, so it would read another network from such a file."""
    torch.save(model.state_dict(), path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[int(largest.header_offset + 200 + share * (largest.file_size - 200))] ^= 1
    path.write_bytes(content)
    error = refused(path, arch=ARCH)
    assert "checksum" in error.found and "again" in error.way_out


def test_a_flipped_bit_among_labelled_images_is_found(tmp_path):
    path = tmp_path / "test.npz"
    numpy.savez(path, images=numpy.full((40, 8, 8, 1), 7, numpy.uint8), labels=numpy.zeros(40, int))
    content = bytearray(path.read_bytes())
    content[content.index(b"\x07" * 8) + 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(DfqError, match="checksum"):
        read_labelled(path, InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,)), 10)
