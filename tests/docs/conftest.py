"""The files that every page of the documentation may use."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile, copytree

import pytest
import torch

NET = '''"""A network of one's own, as the pages name it: net.py:factory."""

from torch import nn


def factory(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
'''  # fmt: skip


@pytest.fixture(scope="session")
def files(model_file, labelled_file, old_file, new_file, tmp_path_factory) -> Path:
    """What the pages begin with: model.pt, net.py and net.pt, test.npz, old.pt, new_classes.npz."""
    folder = tmp_path_factory.mktemp("snippets")
    for source, name in ((model_file, "model.pt"), (labelled_file, "test.npz"), (old_file, "old.pt"),
                         (new_file, "new_classes.npz")):  # fmt: skip
        copyfile(source, folder / name)
    (folder / "net.py").write_text(NET)
    namespace: dict = {}
    exec(NET, namespace)
    torch.manual_seed(0)
    torch.save(namespace["factory"]().state_dict(), folder / "net.pt")
    return folder


@pytest.fixture
def folder(files, tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder for one page, in which its commands are run."""
    copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
