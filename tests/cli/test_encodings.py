"""A terminal that lacks a character shows another one, and no command ends because of it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_commands_on_poor_terminals(encoding, model_file):
    """The table has signs that neither encoding has."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "dfq", "inspect", str(model_file)]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "conv1" in done.stdout.decode(encoding) and b"UnicodeEncodeError" not in done.stderr
