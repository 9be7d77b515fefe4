"""No code from a checkpoint ever runs unasked."""

import contextlib
import pickle
import zipfile
from collections import OrderedDict
from functools import partial
from pathlib import Path

import pytest
import torch
from support.checkpoint_cases import ARCH, refused

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.models.settings import SuggestSettings
from dfq.models.suggest import suggest


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """What a suggestion would be is of no interest here."""
    monkeypatch.setattr("dfq.checkpoint.arch.suggest", partial(suggest, settings=SuggestSettings(seconds=0.1)))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_network(path, model, legacy):
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    error = refused(path)
    assert "Python objects (dfq.models.digits.DigitsCnn)" in error.found
    assert "state_dict()" in error.way_out and "--allow-pickle" in error.way_out


class Malicious:
    """Writes a file when unpickled, as an attacker's checkpoint would run anything."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "ran")


def write_raw_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def write_old_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_zip(content, path):
    torch.save(content, path)


def write_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


CONTAINERS = [write_raw_pickle, write_old_pickle, write_zip, write_legacy]
NESTINGS = [
    lambda evil, weights: evil,
    lambda evil, weights: {"state_dict": {**weights, "evil": evil}},
    lambda evil, weights: {"arch": ARCH, "state_dict": weights, "args": [evil]},
    lambda evil, weights: OrderedDict({**weights, "conv1.weight": evil}),
]


@pytest.mark.parametrize("write", CONTAINERS)
@pytest.mark.parametrize("nest", NESTINGS, ids=["alone", "in-state-dict", "in-metadata", "as-weight"])
def test_malicious_pickle_runs_only_with_permission(tmp_path, model, write, nest):
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    write(nest(Malicious(marker), model.state_dict()), path)
    for arch in (None, ARCH):
        error = refused(path, arch=arch)
        assert "would run code" in error.found and "only if you trust" in error.way_out
        assert not marker.exists()
    with contextlib.suppress(DfqError):
        load_checkpoint(path, allow_pickle=True)
    assert marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt2", ".pth", ".onnx", ""])
@pytest.mark.parametrize("write", CONTAINERS)
def test_malicious_pickle_under_any_name(tmp_path, write, suffix):
    marker, path = tmp_path / "marker", tmp_path / f"model{suffix}"
    write(Malicious(marker), path)
    refused(path, arch=ARCH)
    assert not marker.exists()


def test_malicious_pickle_inside_torchscript_and_text_protocol(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "model.pt"
    evil = pickle.dumps(Malicious(marker), protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("archive/data.pkl", "archive/constants.pkl", "archive/code/x.py"):
            archive.writestr(name, evil)
    refused(path, allow_pickle=False)
    path.write_bytes(pickle.dumps(Malicious(marker), protocol=0))
    refused(path)
    assert not marker.exists()


def test_unpickling_that_fails(path):
    path.write_bytes(pickle.dumps({"a": 1})[:-3])
    assert "does not unpickle" in refused(path, allow_pickle=True).found


def test_checkpoint_cannot_choose_a_python_file(tmp_path, path, model):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    arch = f"{tmp_path / 'evil.py'}:make"
    torch.save({"arch": arch, "state_dict": model.state_dict()}, path)
    assert f"--arch {arch}" in refused(path).way_out
    assert not (tmp_path / "marker").exists()
