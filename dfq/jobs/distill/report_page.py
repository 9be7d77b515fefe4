"""The `report.html` of a distillation: both networks side by side, the images, and the course of training."""

from dfq.results.number_format import milliseconds, network_name, percent, size
from dfq.results.report_page import Page, Section, file_tiles, made_from, made_with, subtitle, write_page
from dfq.results.run_folder import RunFolder
from dfq.results.time_limit import overrun


def write_distilled_page(report: dict, run: RunFolder) -> None:
    """Writes the page of a finished run of `dfq distill`.

    Raises:
        DfqError: The page cannot be written.
    """
    title = f"{network_name(report['arch'])} → {report['student']}"
    sections = [_networks(report), *made_from(report, run), made_with(report)]
    page = Page(title, subtitle(report, "distilled, in floating point"), file_tiles(report), sections, overrun(report))
    write_page(page, report, run.page)


def _networks(report: dict) -> Section:
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
    return Section("Networks", text, head=("", "parameters", "accuracy", "file", "latency, batch 1"), rows=rows)
