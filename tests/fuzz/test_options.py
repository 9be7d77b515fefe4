"""Odd options of every command end in exit code 0, 1 or 2, with one clear error."""

from support.fuzzing.options import command_lines, make_pipe, try_options, without_work
from support.fuzzing.outcome import attempt
from support.fuzzing.slices import sliced

IN_SUITE = 60


def test_options(model_file, run_folder, labelled_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_pipe(tmp_path)
    places = {"model": model_file, "run": run_folder, "data": labelled_file}
    with without_work():
        sliced(command_lines(places), lambda line: attempt(lambda: try_options(line)), in_suite=IN_SUITE)
