"""`write_page`: a page becomes one file."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, PackageLoader

from dfq.results.decision import CHECK, DONT, SHIP
from dfq.results.page.parts import Page
from dfq.results.page.pictures import fitted
from dfq.system.atomic_files import replacing

CLASSES = {SHIP: "ship", CHECK: "check", DONT: "dont"}  # in page.css


def write_page(page: Page, report: Mapping, path: Path) -> None:
    """Writes a page as one file that contains its pictures, has no script, and loads nothing from elsewhere.

    Args:
        page: The page.
        report: What it shows in full at the end.
        path: The file.

    Raises:
        DfqError: The file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("dfq.results", "page"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda content: b64encode(content).decode()
    text = environment.get_template("page.html").render(
        page=_with_fitted_pictures(page),
        decision_class=CLASSES[page.decision.word] if page.decision else "",
        notes=report["warnings"],
        everything=json.dumps(report, indent=1, ensure_ascii=False),
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _with_fitted_pictures(page: Page) -> Page:
    pictures = iter(fitted([section.picture for section in page.sections if section.picture]))
    sections = [replace(each, picture=next(pictures)) if each.picture else each for each in page.sections]
    return replace(page, sections=sections)
