"""Odd and damaged files of every kind are read, or refused with one clear error, within bounds of time and memory.

`DFQ_FUZZ=100 pytest tests/fuzz` tries so many inputs of each kind; `python -m fuzz.run` prints a table.
"""

import shutil
from functools import partial

import pytest
from support.fuzzing.kinds import NAMES, file_kinds
from support.fuzzing.slices import sliced
from support.fuzzing.trial import try_file

from dfq.models.settings import SuggestSettings
from dfq.models.suggest import suggest


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """What a suggestion would be is of no interest here."""
    monkeypatch.setattr("dfq.checkpoint.arch.suggest", partial(suggest, settings=SuggestSettings(seconds=0.1)))


@pytest.fixture(scope="module")
def kinds(run_folder, model_file):
    return {kind.name: kind for kind in file_kinds(run_folder, model_file)}


@pytest.mark.parametrize("name", NAMES)
def test_files(name, kinds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind = kinds[name]
    sliced(kind.odd, lambda content: try_file(kind, content, tmp_path / "files"))
    shutil.rmtree(tmp_path / "files", ignore_errors=True)
