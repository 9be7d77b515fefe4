"""The page of a run of `dfq quantize`: the decision, five figures, facts, and then pictures."""

from collections.abc import Mapping
from pathlib import Path

from dfq.results.decision import decide
from dfq.results.number_format import label, network_name, seconds
from dfq.results.output_rows import compared_on
from dfq.results.page.alternative_texts import of_widths
from dfq.results.page.figures import figures
from dfq.results.page.float_nodes import node_sections
from dfq.results.page.layers import layer_section
from dfq.results.page.outputs import output_section
from dfq.results.page.parts import Page, Section
from dfq.results.page.performance import performance_sections
from dfq.results.page.pictures import picture
from dfq.results.page.private_paths import without_private_paths
from dfq.results.page.sections import image_sections, made_with, reconstruction_section
from dfq.results.page.training import training_section
from dfq.results.page.write import write_page
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json
from dfq.results.time_limit import overrun
from dfq.results.verdict import verdict
from dfq.system.reading import reading


def write_report_page(report: Mapping, run: RunFolder) -> None:
    """Writes `report.html` of a finished run of `dfq quantize`.

    Raises:
        DfqError: The file cannot be written.
    """
    shown = without_private_paths(report, run.path)
    scheme = shown["settings"]["scheme"]
    page = Page(
        title=f"{network_name(shown['arch'])}, {label(scheme)}",
        subtitle=subtitle(shown, f"scheme {scheme['name']}"),
        figures=figures(shown),
        sections=_sections(shown, run),
        verdict=[*overrun(shown), *verdict(shown.get("coverage"), shown.get("float_file"))],
        decision=decide(shown, Path(run.path.name)),
    )
    write_page(page, shown, run.page)


def rewrite_report_page(run: RunFolder) -> None:
    """Writes `report.html` anew from the folder's `report.json`.

    Raises:
        DfqError: `report.json` is damaged.
    """
    report = read_json(run.report)
    with reading(run.report):
        write_report_page(report, run)


def subtitle(report: Mapping, first: str) -> str:
    """Returns how the run was made, after the words `first`."""
    settings, spent = report["settings"], report["seconds"]["total"]
    made = f"{first}, method {settings['method']}, seed {report['seed']}"
    return f"{made}; {settings['images']} synthetic images and no real one; {seconds(spent)}."


def _sections(report: Mapping, run: RunFolder) -> list[Section]:
    widths = picture(run.mixed_precision, of_widths(report["mixed_precision"]))
    return [
        *layer_section(report),
        *node_sections(report["nodes"]),
        *(output_section(report["outputs"], compared_on(report))),
        *(performance_sections(read_json(run.performance)) if run.performance.exists() else []),
        *reconstruction_section(report.get("reconstruction")),
        *(
            [Section("Widths of each layer", "Chosen by sensitivity on synthetic images.", picture=widths)]
            if widths
            else []
        ),
        *training_section(report, run),
        *image_sections(report, run),
        made_with(report),
    ]
