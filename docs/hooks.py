"""What MkDocs calls while it builds the site: the pages that are generated from code, results and notebooks.

`PAGES` of `page_makers` lists them. They exist during a build alone, so that they cannot be older than the code.
"""

import re
import tomllib
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from page_makers import PAGES, PICTURES, ROOT, notebooks

PACKAGE = "dfq"
TREE = TemporaryDirectory(prefix="dfq-docs-")  # goes when the process ends


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Shows mkdocstrings the package as a wheel has it: it follows no folders that are mapped to another name."""
    mkdocstrings = config.plugins["mkdocstrings"]
    mkdocstrings.config["handlers"]["python"]["paths"] = [str(package_tree(Path(TREE.name)))]
    return config


def package_tree(folder: Path) -> Path:
    """Links to every file and folder of the package, those included that pyproject.toml maps into it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = folder / PACKAGE
    package.mkdir(exist_ok=True)
    for name, source in settings["package-dir"].items():
        own = [ROOT / source] if "." in name else list((ROOT / source).iterdir())
        for path in own:
            if not (link := package / path.name).exists():
                link.symlink_to(path)
    return folder


def on_page_markdown(markdown: str, **_: object) -> str:
    """Without the marks that are meant for `tests/support/snippets.py` alone."""
    return re.sub(r"^ *# not run in the tests\n", "", markdown, flags=re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, the notebooks as pages, and the pictures of the benchmarks as `pictures/NAME.png`."""
    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    for path in sorted((ROOT / PICTURES).glob("*.png")):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        for name, content in notebooks.files_of(Path(notebook.abs_src_path)).items():
            uri = (PurePosixPath(notebook.src_uri).parent / name).as_posix()
            files.append(File.generated(config, uri, content=content))
    return files
