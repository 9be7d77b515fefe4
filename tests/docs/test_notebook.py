"""The notebooks of the documentation run from top to bottom, and hold the outputs that the site shows.

The outputs are made again by `jupyter execute --inplace NOTEBOOK`, on a machine that does nothing else meanwhile.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from support.snippets import ROOT, name_of

nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[dev]'")
nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[dev]'")
pytest.importorskip("ipykernel", reason="pip install -e '.[dev]'")

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
MAX_BYTES = 600_000
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:tmp|home|root|work|usr|opt|var|private|Users)/|\b[A-Z]:\\\\|file://")
COMMAND = "%%sh"  # Raises where the command fails, which a line with "!" does not.

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell) -> list[tuple]:
    """Returns what a cell shows: the kind of each output, and the formats that it comes in."""
    return [(output.output_type, output.get("name"), *sorted(output.get("data", ()))) for output in cell.outputs]


def texts(cell) -> list[str]:
    """Returns everything readable in the outputs of a cell."""
    found = [output.text for output in cell.outputs if output.output_type == "stream"]
    data = [value for output in cell.outputs for value in output.get("data", {}).items()]
    return found + [value for kind, value in data if not kind.startswith("image/")]


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_is_stored(path, tmp_path, monkeypatch):
    stored, notebook = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # This `dfq`.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # Other processes of the tests may want a core.
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # The notebook makes its folder there.
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):  # Not those of the person who tests.
        monkeypatch.setenv(name, str(tmp_path / name))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources, coalesce_streams=True
    ).execute()
    for fresh, old in zip(code_cells(notebook), code_cells(stored), strict=True):
        assert kinds(fresh) == kinds(old), fresh.source
        if fresh.source.startswith(COMMAND):
            assert texts(fresh) == texts(old), fresh.source


def test_outputs_are_stored_from_one_run(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 3
    assert any("text/html" in output.get("data", {}) for output in shown)
    assert all(text.strip() for cell in cells for text in texts(cell))
    assert [output for output in shown if output.output_type == "error" or output.get("name") == "stderr"] == []


def test_every_picture_is_described(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            assert cell.metadata.get("alt"), cell.source


def test_outputs_name_no_path_of_a_machine(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        assert [text for text in texts(cell) if MACHINE_PATH.search(text)] == [], cell.source


def test_the_file_is_small(path):
    assert path.stat().st_size < MAX_BYTES
