"""Fixtures that more than one test file uses."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # the networks of the tests are too small to share out, and other processes may want a core


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real checkpoints and labelled images beside the repository; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared/data folder beside the repository: real checkpoints are not available")
    return folder
