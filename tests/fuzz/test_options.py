"""Odd options of every command end in exit code 0, 1 or 2, with one clear error."""

import pytest
from support.fuzzing.options import WORK, command_lines, make_pipe, try_command
from support.fuzzing.outcome import attempt
from support.fuzzing.slices import sliced

from dfq.errors import DfqError

NO_WORK = DfqError("options that can be used", "nothing", "none", exit_code=1)
IN_SUITE = 60


@pytest.fixture
def without_work(monkeypatch):
    """Ends every command where its work would begin."""

    def begin(*arguments, **options):
        raise NO_WORK

    for place in WORK.values():
        monkeypatch.setattr(place, begin)


def test_options(model_file, run_folder, labelled_file, tmp_path, monkeypatch, without_work):
    monkeypatch.chdir(tmp_path)
    make_pipe(tmp_path)
    places = {"model": model_file, "run": run_folder, "data": labelled_file}
    sliced(command_lines(places), lambda line: attempt(lambda: try_command(line)), in_suite=IN_SUITE)
