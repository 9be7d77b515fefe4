"""What killed writes of `dfq export` and `dfq validate` leave is removed by the next command, and nothing is half."""

import shutil
import subprocess
import sys

import pytest

KILLED_AT_THE_FIRST_WRITE = """
import os, pathlib, sys
pathlib.Path.replace = lambda *_: os._exit(9)  # the file is written and has not yet its name
from dfq.cli import main
main()
"""


def run(*arguments, killed: bool) -> int:
    code = KILLED_AT_THE_FIRST_WRITE if killed else "from dfq.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=False).returncode


def hidden(folder) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".") and path.suffix != ".lock"]


@pytest.mark.parametrize("command", ["export", "validate"])
def test_the_next_command_removes_what_a_killed_write_left(command, run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    written = folder / "new.onnx" if command == "export" else folder / "performance.json"
    options = ("--out", written) if command == "export" else ("--performance", "--engine", "onnxruntime-cpu")
    before = set(hidden(folder))
    assert run(command, folder, *options, killed=True) == 9
    assert set(hidden(folder)) - before and not written.exists()
    assert run(command, folder, *options, killed=False) == 0
    assert set(hidden(folder)) == before and written.exists()
