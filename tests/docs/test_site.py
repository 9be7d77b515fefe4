"""The site builds without a warning, and holds what it is generated from."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest

import dfq
from dfq.calibration import METHODS
from dfq.cli.main import COMMANDS
from dfq.quantizers.scheme import SCHEMES
from dfq.quantizers.targets import TARGETS
from dfq.results.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings", "nbconvert")


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of the built site."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("site")  # not --quiet: mkdocs then counts no warnings, and --strict passes
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def text_of(site: Path, page: str) -> str:
    return (site / page / "index.html").read_text()


def test_every_command_has_a_section(site):
    text = text_of(site, "reference/cli")
    assert [name for name in COMMANDS if f'id="dfq-{name}"' not in text] == []


@pytest.mark.parametrize(
    ("page", "table"),
    [("methods", METHODS), ("targets", TARGETS), ("schemes", SCHEMES)],
    ids=["methods", "targets", "schemes"],
)
def test_every_row_has_a_section(site, page, table):
    text = text_of(site, f"reference/{page}")
    assert [name for name in table if f'id="{name}"' not in text] == []


def test_every_public_name_is_in_the_python_reference(site):
    text = text_of(site, "reference/api")
    told = {"__version__", "methods"}  # in a sentence
    headings = set(re.findall(r'class="doc doc-heading">\s*dfq\.(\w+)\s', text))
    assert set(dfq.__all__) - told <= headings


def test_every_key_of_a_report_has_a_section(site):
    schema = json.loads((files("dfq.results") / "report.schema.json").read_text())
    text = text_of(site, "reference/report-json")
    assert [key for key in schema["properties"] if f'id="{key}"' not in text] == []


def test_every_file_of_a_run_is_told(site):
    text = text_of(site, "reference/run-folder")
    assert [path.name for path in RunFolder("run").artifacts() if f"<code>{path.name}</code>" not in text] == []


def test_results_say_where_they_come_from(site):
    text = text_of(site, "results")
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        if not path.name.startswith("zoo"):
            assert f"benchmarks/results/{path.name}" in text, path
    assert "zoo_2.json" in text_of(site, "census")


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_pages_with_pictures(site, path):
    text = text_of(site, f"{path.parent.relative_to(ROOT / 'docs')}/{path.stem}")
    found = re.findall(rf'<img alt="([^"]+)" src="\.\./({path.stem}_files/[^"]+)"', text)
    assert len(found) == path.read_text().count('"image/png": "') > 0
    assert [name for _, name in found if not (site / path.parent.relative_to(ROOT / "docs") / name).is_file()] == []


def test_the_code_of_the_pages_is_not_published(site):
    assert not list(site.rglob("*.py")) and not (site / "page_makers").exists()


def test_nothing_is_fetched_from_elsewhere(site):
    """By the pages; Material itself fetches mermaid where a page has a diagram."""
    for path in site.rglob("*.html"):
        text = path.read_text()
        for part in ('src="http', 'href="https://fonts', '<link rel="stylesheet" href="http'):
            assert part not in text, path


def test_marks_for_the_tests_are_not_shown(site):
    assert [path for path in site.rglob("*.html") if "not run in the tests" in path.read_text()] == []


def test_building_leaves_the_folder_as_it_was(site):
    assert shutil.which("git") is None or not (ROOT / "docs" / "reference" / "cli.md").exists()
