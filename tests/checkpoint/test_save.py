"""A saved checkpoint is plain, and whole or not there."""

import io
from pathlib import Path

import pytest
import torch
from support.checkpoint_cases import ARCH, SPEC

from dfq.checkpoint import save_checkpoint
from dfq.errors import DfqError


def test_failed_save_leaves_nothing_and_keeps_the_old_file(path, model, monkeypatch):
    save_checkpoint(path, model, ARCH, SPEC)
    before = path.read_bytes()

    def disk_full(values, file):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(DfqError, match="No space left on device") as caught:
        save_checkpoint(path, model, ARCH, SPEC)
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_save_into_a_missing_folder(tmp_path, model):
    with pytest.raises(DfqError, match="cannot be written"):
        save_checkpoint(tmp_path / "absent" / "model.pt", model, ARCH, SPEC)


def test_saved_checkpoint_is_plain(path, model):
    save_checkpoint(path, model, ARCH, SPEC)
    values = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert set(values) == {"arch", "state_dict", "input_spec"}
