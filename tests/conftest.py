"""Fixtures that more than one test file uses."""

from functools import cache
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoint_cases import ARCH
from support.command_line import SMALL, succeed
from support.export_cases import calibrated_student
from support.incremental_cases import OLD, part
from support.small_nets import SPEC
from torch import nn
from torch.onnx._internal.exporter import _registration

from dfq.checkpoint import load_checkpoint, save_checkpoint
from dfq.export import export_onnx
from dfq.jobs.demo import DEMO_SETTINGS, normalized
from dfq.models.registry import DIGITS_INPUT, build
from dfq.system.settings import StateFileSettings
from dfq.teacher import Teacher

torch.set_num_threads(1)  # the networks of the tests are too small to share out, and other processes may want a core


@pytest.fixture(scope="session", autouse=True)
def one_table_of_translations():
    """torch's exporter compiles its table of translations anew for each file, nearly half of what a small one takes."""
    table = _registration.ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "from_torchlib", staticmethod(cache(table.from_torchlib)))
        yield


@pytest.fixture(scope="session", autouse=True)
def any_budget():
    """No budget is refused: what is feasible depends on how busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfq.jobs.make_ready.check_feasible", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and labelled images beside the repository; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared/data folder beside the repository: real checkpoints are not available")
    return folder


@pytest.fixture
def saves_always(monkeypatch):
    """Every stage saves its state at each step, and not by the clock."""
    always = StateFileSettings(every_seconds=0.0, most_share=inf)
    monkeypatch.setattr("dfq.system.state_file.STATE_FILE_SETTINGS", always)


@pytest.fixture
def model():
    """The network of `ARCH` with random weights."""
    torch.manual_seed(0)
    return build(ARCH).eval()


@pytest.fixture
def path(tmp_path):
    """Of the checkpoint that the test writes."""
    return tmp_path / "model.pt"


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """The digits net with random weights, which every command takes alone."""
    torch.manual_seed(0)
    return save_checkpoint(tmp_path_factory.mktemp("model") / "net.pt", build(ARCH), ARCH, DIGITS_INPUT)


@pytest.fixture(scope="session")
def labelled_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "digits.npz"
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(20) % 10)
    return path


@pytest.fixture(scope="session")
def run_folder(model_file, labelled_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    text = succeed("quantize", model_file, "--bits", "4", *SMALL, "--out", folder, "--data", labelled_file)
    (folder / "stdout.txt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """(network, bits, scheme) → (student, path), exported once."""

    @cache
    def export(name: str, bits: int, scheme: str = "deploy"):
        student = calibrated_student(name, bits, scheme)
        return student, export_onnx(student, tmp_path_factory.mktemp("onnx") / f"{name}.onnx", SPEC)

    return export


@pytest.fixture(scope="session")
def old_file(tmp_path_factory):
    """A checkpoint that knows the digits 0 to 4."""
    torch.manual_seed(0)
    model, known = build("dfq/digits_cnn", OLD), part("training", 0, OLD - 1)
    images, labels = normalized(known), torch.from_numpy(known.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for _ in range(150):
        index = torch.randint(len(images), (DEMO_SETTINGS.batch_size,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
        optimizer.step()
    return save_checkpoint(tmp_path_factory.mktemp("old") / "old.pt", model.eval(), "dfq/digits_cnn", DIGITS_INPUT)


@pytest.fixture(scope="session")
def new_file(tmp_path_factory):
    found = part("training", OLD, 9)
    path = tmp_path_factory.mktemp("new") / "new.npz"
    np.savez(path, images=found.images, labels=found.labels)
    return path


@pytest.fixture(scope="session")
def digits_teacher(old_file):
    return Teacher(load_checkpoint(old_file).model, DIGITS_INPUT)
