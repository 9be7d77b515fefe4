"""The folder mapping: what lies on disk is what is packaged, under the name that users import."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_folder_with_code_is_packaged_and_mapped_folders_are_flat():
    on_disk = {"dfq", *(f"dfq.{p.parent.name}" for p in (ROOT / "dfq").glob("*/__init__.py"))}
    assert {"dfq.calibration", "dfq.export"} | on_disk == set(SETUPTOOLS["packages"])
    for folder in ("calibration", "export"):
        assert SETUPTOOLS["package-dir"][f"dfq.{folder}"] == folder
        assert not [p for p in (ROOT / folder).iterdir() if p.is_dir() and p.name != "__pycache__"]


@pytest.mark.parametrize("folder", ["calibration", "export"])
def test_mapped_folders_refuse_the_wrong_name(folder):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {folder}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1 and f"dfq.{folder}" in run.stderr


def test_no_file_is_named_after_a_dependency():
    taken = {"onnx", "torch", "click", "numpy", "rich", "onnxruntime", "safetensors", "matplotlib"}
    assert not {p.stem for f in ("dfq", "calibration", "export") for p in (ROOT / f).glob("*.py")} & taken


def test_no_path_of_a_machine_in_the_code():
    for folder in ("dfq", "calibration", "export", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "/home/" not in path.read_text() or path == Path(__file__), path
