"""The `report.html` of a distillation: both networks side by side, the images, and the course of training."""

from collections.abc import Mapping
from pathlib import Path

from dfq.results.distilled_decision import decide_distilled
from dfq.results.number_format import milliseconds, network_name, percent, size
from dfq.results.page.figures import figures
from dfq.results.page.parts import Page, Section, Table
from dfq.results.page.private_paths import without_private_paths
from dfq.results.page.quantize_page import subtitle
from dfq.results.page.sections import image_sections, made_with
from dfq.results.page.training import training_section
from dfq.results.page.write import write_page
from dfq.results.run_folder import RunFolder
from dfq.results.time_limit import overrun


def write_distilled_page(report: Mapping, run: RunFolder) -> None:
    """Writes the page of a finished run of `dfq distill`.

    Raises:
        DfqError: The page cannot be written.
    """
    shown = without_private_paths(report, run.path)
    page = Page(
        title=f"{network_name(shown['arch'])} → {shown['student']}",
        subtitle=subtitle(shown, "distilled, in floating point"),
        figures=figures(shown, "the teacher"),
        sections=[_networks(shown), *training_section(shown, run), *image_sections(shown, run), made_with(shown)],
        verdict=overrun(shown),
        decision=decide_distilled(shown, Path(run.path.name)),
    )
    write_page(page, shown, run.page)


def _networks(report: Mapping) -> Section:
    columns = (("teacher", "teacher", "float_onnx"), ("student", "onnx", "onnx"))
    rows = tuple(
        (name, f"{report['parameters'][name]:,}", percent(report["accuracy"][accuracy]),
         size(report["size_bytes"][file]), milliseconds(report["latency_ms"][file]))
        for name, accuracy, file in columns
    )  # fmt: skip
    stages = report["stages"]
    start = "layers of the teacher" if report["start"] == "teacher" else "random weights"
    text = (
        f"The student started from {start}. {stages['comparable']} of its {stages['student']} feature maps have a "
        "shape of the teacher's."
    )
    head = ("", "parameters", "accuracy", "file", "latency, batch 1")
    return Section("Networks", text, table=Table(head, rows))
