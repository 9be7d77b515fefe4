"""`report.html`: the content of `report.json` and the pictures of a run, on one page that needs no other file."""

import json
from base64 import b64encode
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from dfq.results.decision import CHECK, DONT, SHIP, Decision, decide
from dfq.results.number_format import (
    NOTHING,
    decibels,
    label,
    milliseconds,
    network_name,
    number,
    percent,
    points,
    ratio,
    seconds,
    size,
    with_interval,
)
from dfq.results.output_rows import best_kind, compared_on, image_count, is_classifier, lowest_snr, section
from dfq.results.page_sections import Section, performance_sections
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json
from dfq.results.time_limit import overrun
from dfq.results.verdict import Sentence, verdict
from dfq.system.atomic_files import replacing
from dfq.system.reading import reading

COLOURS = {SHIP: "#1b7837", CHECK: "#8a5a00", DONT: "#b2182b"}  # on white, each has a contrast of at least 4.5
KIND_NAMES = {"pictures": "real pictures", "synthetic": "synthetic images", "labelled": "labelled images"}


@dataclass(frozen=True)
class Page:
    """What a page shows above the content of `report.json`.

    Attributes:
        title: Heading of the page.
        subtitle: Sentence on how the run was made.
        tiles: The most important figures, each as a pair of what it is and its text.
        sections: Parts of the page, in their order.
        verdict: Sentences between the heading and the subtitle.
        decision: What to do with the file; None where a page has no such file.
    """

    title: str
    subtitle: str
    tiles: list[tuple[str, str]]
    sections: list[Section]
    verdict: list[Sentence] = field(default_factory=list)
    decision: Decision | None = None


def write_report_page(report: dict, run: RunFolder) -> None:
    """Writes `report.html` of a finished run of `dfq quantize`.

    Raises:
        DfqError: The file cannot be written.
    """
    scheme = report["settings"]["scheme"]
    title = f"{network_name(report['arch'])}, {label(scheme)}"
    made = subtitle(report, f"scheme {scheme['name']}")
    said = [*overrun(report), *verdict(report.get("coverage"), report.get("float_file"))]
    page = Page(title, made, _tiles(report), _sections(report, run), said, decide(report, Path(run.path.name)))
    write_page(page, report, run.page)


def rewrite_report_page(run: RunFolder) -> None:
    """Writes `report.html` anew from the folder's `report.json`.

    Raises:
        DfqError: `report.json` is damaged.
    """
    report = read_json(run.report)
    with reading(run.report):
        write_report_page(report, run)


def write_page(page: Page, report: dict, path: Path) -> None:
    """Writes a page as one file that contains its pictures, has no script, and loads nothing from elsewhere.

    Sections with nothing to show are left out.

    Raises:
        DfqError: The file cannot be written.
    """
    source = files("dfq.results").joinpath("report_page.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string(source)
    text = template.render(
        title=page.title,
        subtitle=page.subtitle,
        decision=page.decision,
        colour=COLOURS[page.decision.word] if page.decision else "",
        verdict=page.verdict,
        tiles=[{"name": name, "value": value} for name, value in page.tiles],
        notes=report["warnings"],
        sections=[s for s in page.sections if s.picture or s.rows or s.name.startswith("What the")],
        everything=json.dumps(report, indent=1),
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def subtitle(report: dict, first: str) -> str:
    """Returns how the run was made, after the words `first`."""
    settings, spent = report["settings"], report["seconds"]["total"]
    made = f"{first}, method {settings['method']}, seed {report['seed']}"
    return f"{made}; {settings['images']} synthetic images and no real one; {seconds(spent)}."


def _tiles(report: dict) -> list[tuple[str, str]]:
    """Returns the figures by which a person decides whether to use the file."""
    expected = report["evidence"]["predicted_drop"]
    if report["accuracy"]["onnx"] is None and expected is not None:
        return [
            ("of the teacher's accuracy is expected (an estimate)", f"{100 * (1 - expected):.1f} %"),
            *file_tiles(report),
        ]
    return file_tiles(report)


def file_tiles(report: dict) -> list[tuple[str, str]]:
    """Returns what was measured of the ONNX file."""
    accuracy = report["accuracy"]
    bytes_, latency = report["size_bytes"], report["latency_ms"]
    tiles = []
    if accuracy["onnx"] is not None:
        change = points(accuracy["onnx"], accuracy["teacher"])
        name = (
            f"accuracy of the file on {image_count(report, 'labelled')} labelled images (change to the teacher, points)"
        )
        tiles.append((name, percent(accuracy["onnx"], 1) + change))
    return [
        *tiles,
        *(_answers(report) if is_classifier(report) else _ratios(report["outputs"])),
        ("file size (part of the float file)", size(bytes_["onnx"]) + ratio(bytes_["onnx"], bytes_["float_onnx"])),
        ("latency, batch 1", milliseconds(latency["onnx"]) + ratio(latency["onnx"], latency["float_onnx"])),
    ]


def _answers(report: dict) -> list[tuple[str, str]]:
    agreement, doubt = report["agreement"], report.get("doubt")
    kind = "labelled" if agreement["student_teacher"].get("labelled") is not None else "synthetic"
    count = image_count(report, kind)
    of_student, of_file = (agreement[pair][kind] for pair in ("student_teacher", "onnx_student"))
    tiles = [(f"file = student, {count} {kind} images (95 % interval)", with_interval(of_file, count, 1))]
    if kind == "synthetic" and doubt:
        return [(f"same class as the teacher: not shown, because {doubt}", NOTHING), *tiles]
    return [
        (f"same class as the teacher, {count} {kind} images (95 % interval)", with_interval(of_student, count, 1)),
        *tiles,
    ]


def _ratios(outputs: list[dict]) -> list[tuple[str, str]]:
    """Returns the tiles of a network that is no classifier, on the output that is furthest off."""
    kind, worst = best_kind(outputs), "" if len(outputs) == 1 else " of the output that is furthest off"
    shown = KIND_NAMES[kind]
    return [
        (f"signal-to-noise ratio to the teacher{worst}, {shown}", decibels(lowest_snr(outputs, "onnx_teacher", kind))),
        (f"file = student, {shown}", decibels(lowest_snr(outputs, "onnx_student", kind))),
    ]


def _sections(report: dict, run: RunFolder) -> list[Section]:
    return [
        *([section(report["outputs"], compared_on(report))] if report.get("outputs") else []),
        *made_from(report, run),
        *(performance_sections(read_json(run.performance)) if run.performance.exists() else []),
        _blocks(report.get("reconstruction")),
        Section("Widths of each layer", "Chosen by sensitivity on synthetic images.", _picture(run.mixed_precision)),
        Section("What the runtime computes in integers", _integers(report["nodes"])),
        _float_nodes(report["nodes"]["float"]),
        _layers(report["layers"]),
        made_with(report),
    ]


def made_from(report: dict, run: RunFolder) -> list[Section]:
    """Returns the sections on images and training."""
    return [
        Section("Synthetic images", _images(report), _picture(run.samples)),
        Section("How varied they are, in the teacher's eyes", picture=_picture(run.diversity)),
        Section("Training", _training(report), _picture(run.curve)),
    ]


def _picture(path: Path) -> str:
    return b64encode(path.read_bytes()).decode() if path.exists() else ""


def _images(report: dict) -> str:
    withheld = report["evidence"].get("withheld")
    reason = f" No accuracy is estimated: {withheld}." if withheld and report["diversity"]["num_classes"] else ""
    return f"They were made from {report['knowledge']}.{reason} {_diversity(report['diversity'])}"


def _diversity(found: dict) -> str:
    distance = number(found["same_class_distance"])
    if not found["num_classes"]:
        return f"The mean distance between two images, as the teacher's features have it, is {distance}."
    return (
        f"The mean distance between images of a class is {distance}, the mean entropy of the teacher's answers is "
        f"{number(found['entropy'])} nats, and the class balance is {number(found['class_balance'])}."
    )


def _training(report: dict) -> str:
    training = report["training"]
    return f"{training['steps']} steps; the state of step {training['chosen_step']} was kept." if training else ""


def _blocks(reconstruction: dict | None) -> Section:
    rows = [
        (block["name"], f"{block['before']:.3g}", f"{block['after']:.3g}", "yes" if block["kept"] else "no",
         str(block["iterations"]), seconds(block["seconds"]))
        for block in (reconstruction or {"blocks": []})["blocks"]
    ]  # fmt: skip
    text = (
        "Squared error of each block's output on held-out synthetic images, divided by the variance of the teacher's."
    )
    return Section("Reconstruction", text, "", ("block", "before", "after", "kept", "iterations", "time"), tuple(rows))


def _integers(nodes: dict) -> str:
    return ", ".join(f"{op} × {count}" for op, count in nodes["integer"].items()) or "Nothing."


def _float_nodes(nodes: list[dict]) -> Section:
    rows = tuple((node["name"], node["op"], node["reason"]) for node in nodes)
    return Section("What stayed in floating point", head=("node", "operator", "reason"), rows=rows)


def _layers(layers: list[dict]) -> Section:
    rows = tuple(
        (row["name"], row["type"], "×".join(map(str, row["shape"])), str(row["weight_bits"]),
         str(row["input_bits"] or "float"))
        for row in layers
    )  # fmt: skip
    return Section("Layers", head=("layer", "type", "weight", "bits of weight", "bits of input"), rows=rows)


def made_with(report: dict) -> Section:
    """Returns the section on the machine and the versions."""
    facts = {**report["hardware"], **report["versions"]}
    rows = tuple((name, str(value)) for name, value in facts.items() if value is not None)
    return Section("Made with", head=("what", "which"), rows=rows)
