"""The folder mapping: what lies on disk is what is packaged, under the name that users import."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def packages_in(folder: str, name: str) -> set[str]:
    faces = [path.parent.relative_to(ROOT / folder).parts for path in (ROOT / folder).rglob("__init__.py")]
    return {".".join([name, *parts]) for parts in faces}


def test_every_folder_with_code_is_packaged():
    on_disk = packages_in("dfq", "dfq") | packages_in("calibration", "dfq.calibration")
    assert on_disk | packages_in("export", "dfq.export") == set(SETUPTOOLS["packages"])
    for folder in ("calibration", "export"):
        assert SETUPTOOLS["package-dir"][f"dfq.{folder}"] == folder
    for folder in ("dfq", "calibration", "export"):
        with_code = {path.parent for path in (ROOT / folder).rglob("*.py")}
        assert not [path for path in with_code if not (path / "__init__.py").exists()]


@pytest.mark.parametrize("folder", ["calibration", "export"])
def test_mapped_folders_refuse_the_wrong_name(folder):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {folder}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1 and f"dfq.{folder}" in run.stderr


def test_no_file_is_named_after_a_dependency():
    taken = {"onnx", "torch", "click", "numpy", "rich", "onnxruntime", "safetensors", "matplotlib"}
    assert not {p.stem for f in ("dfq", "calibration", "export") for p in (ROOT / f).rglob("*.py")} & taken


def test_no_path_of_a_machine_in_the_code():
    for folder in ("dfq", "calibration", "export", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "/home/" not in path.read_text() or path == Path(__file__), path
