"""Shows the result of a run on the terminal, from the content of `report.json` alone."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from dfq.cli import console
from dfq.jobs.distill import DistillFolder
from dfq.results.decision import CHECK, DONT, SHIP, Decision, decide
from dfq.results.distilled_decision import decide_distilled
from dfq.results.number_format import (
    at_least,
    kept,
    label,
    milliseconds,
    number,
    operations,
    percent,
    points,
    ratio,
    seconds,
    size,
)
from dfq.results.output_rows import compared_on, image_count, terminal_rows
from dfq.results.run_folder import RunFolder
from dfq.results.time_limit import overrun
from dfq.results.verdict import verdict

MISMATCH = 3  # the exit code where a file does not do what its student does
STYLES = {SHIP: "bold green", CHECK: "bold yellow", DONT: "bold red"}
STAGES = ("synthesis", "widths", "training", "export", "validation")


def show_run(report: dict, folder: Path, name: str) -> None:
    """Shows the result of `dfq quantize`."""
    settings = report["settings"]
    title = f"{name} → {label(settings['scheme'])} ({settings['scheme']['name']}, {settings['method']})"
    console.stdout.print()
    show_decision(decide(report, folder))
    console.verdict([*overrun(report), *verdict(report.get("coverage"), report.get("float_file"))])
    console.stdout.print(agreement_table(report, title))
    show_compared(report)
    _show_expectation(report)
    show_nodes(report["nodes"])
    _show_widths(report["mixed_precision"])
    console.facts("Notes", report["warnings"])
    _show_seconds(report)
    _show_diversity(report["diversity"])
    _show_files(RunFolder(folder))


def as_json(report: dict, folder: Path) -> dict:
    """Returns what `--json` writes of a run: its folder, and the content of its `report.json`."""
    return {"folder": str(folder), **report}


def show_decision(decision: Decision) -> None:
    """Shows what to do with the file, what it is good for, and the next command."""
    console.headline(decision.sentence, STYLES[decision.word])
    console.fact("Good for", decision.benefits)
    if decision.command:
        console.fact("Next", decision.command)
    console.stdout.print()


def agreement_table(found: dict, title: str) -> Table:
    """Returns a table with teacher, student and ONNX file side by side.

    Args:
        found: A report, or an `Agreement` as a dictionary.
        title: The title of the table.
    """
    rows = [*_accuracy_rows(found["accuracy"]), *_agreement_rows(found), *terminal_rows(found["outputs"])]
    for name, measured, text in (
        ("file size", found["size_bytes"], size),
        ("latency, batch 1", found["latency_ms"], milliseconds),
    ):
        reference, value = measured["float_onnx"], measured["onnx"]
        rows.append((name, text(reference), "", text(value) + ratio(value, reference)))
    return console.table(title, ("", "teacher", "student", "ONNX file"), rows)


def _accuracy_rows(accuracy: dict) -> list[tuple[str, ...]]:
    teacher = accuracy["teacher"]
    if teacher is None:
        return []
    cells = [percent(accuracy[key]) + points(accuracy[key], teacher) for key in ("student", "onnx")]
    return [("accuracy, labelled", percent(teacher), *cells)]


def _agreement_rows(found: dict) -> list[tuple[str, ...]]:
    """Returns the rows of top-1 agreement, each figure in the column of the network that is compared with another.

    Each has the lower end of its 95 % interval; one that says nothing is left out.
    """
    rows: list[tuple[str, ...]] = []
    agreement = found["agreement"]
    for kind in ("labelled", "pictures", "synthetic"):
        count = image_count(found, kind)
        of_student, of_file = (agreement[pair].get(kind) for pair in ("student_teacher", "onnx_student"))
        if of_student is not None and not (kind == "synthetic" and found.get("doubt")):
            held_out = image_count(found, kind, "student_teacher")
            rows.append((f"top-1 = teacher, {kind}", "", at_least(of_student, held_out), ""))
        if of_file is not None:
            rows.append((f"top-1 = student, {kind}", "", "", at_least(of_file, count)))
        of_itself = agreement.get("student_float64", {}).get(kind)
        if of_itself is not None:
            rows.append((f"top-1 = in float64, {kind}", "", percent(of_itself), ""))
    return rows


def show_compared(found: dict) -> None:
    """Shows how many images the networks were compared on, and why an agreement is not shown."""
    console.fact("Compared on", f"{compared_on(found)}; ≥: lower end of the 95 % interval")
    if found.get("doubt"):
        console.fact("Not shown", f"top-1 = teacher, synthetic: {found['doubt']}")


def show_nodes(nodes: dict) -> None:
    """Shows which operators the runtime computes on integers, which stay in floating point, and why."""
    integer = ", ".join(f"{op} {count}" for op, count in nodes["integer"].items())
    console.fact("Runs on integers", integer or "nothing")
    grouped = Counter((node["op"], node["reason"]) for node in nodes["float"])
    if not grouped:
        console.fact("Stayed in float", "nothing")
        return
    console.stdout.print()
    rows = [(f"{op} × {count}", reason) for (op, reason), count in grouped.most_common()]
    console.stdout.print(console.table("Stayed in float", ("operator", "reason"), rows, left=2))


def _show_expectation(report: dict) -> None:
    """Shows the accuracy that synthetic images predict, or why they do not, where nobody measured it."""
    expected, withheld = (report["evidence"][key] for key in ("predicted_drop", "withheld"))
    if report["accuracy"]["teacher"] is not None or not report["diversity"]["num_classes"]:
        return
    if expected is None:
        console.fact("Expected", f"no estimate: {withheld}")
    else:
        shown = kept(expected, report["evidence"].get("drop_interval"))
        console.fact("Expected", f"{shown} of the teacher's accuracy, estimated without real images")


def _show_widths(mixed: dict | None) -> None:
    """Shows how many layers have which widths, where mixed precision chose them."""
    if mixed is None:
        return
    layers = _counted(mixed["widths"].values())
    console.fact("Weights", f"{mixed['average_bits']:.2f} bits on average; layers: {layers}")
    if mixed["unit"] == "bops":
        read = _counted(group["bits"] for group in mixed["activations"] for _ in group["layers"])
        console.fact("Activations", f"layers read {read}")
        chosen, most = operations(mixed["chosen"]["cost"]), operations(mixed["target"])
        console.fact("Bit operations", f"{chosen} per image, of at most {most}")


def _counted(widths: Iterable[int]) -> str:
    """Returns how many layers have which width, such as "3 × 4 bits, 2 × 8 bits"."""
    return ", ".join(f"{count} × {bits} bits" for bits, count in sorted(Counter(widths).items()))


def _show_seconds(report: dict) -> None:
    """Shows what the student was made from, and the time of each stage."""
    spent, images, training = report["seconds"], report["settings"]["images"], report.get("training")
    stages = " · ".join(f"{stage} {seconds(spent[stage])}" for stage in STAGES if stage in spent)
    steps = f"{training['steps']} steps, kept step {training['chosen_step']}" if training else "no training end to end"
    console.fact("Made from", f"{images} synthetic images; {steps}")
    console.fact("Images from", report["knowledge"])
    console.fact("Time", f"{seconds(spent['total'])}: {stages}")


def _show_diversity(found: dict) -> None:
    """Shows how varied the images are, as the teacher sees them."""
    distance, balance = (number(found[key]) for key in ("same_class_distance", "class_balance"))
    if not found["num_classes"]:
        console.fact("Images", f"distance {distance} in the teacher's features")
        return
    entropy = number(found["entropy"], " nats")
    console.fact("Images", f"same-class distance {distance}, entropy {entropy}, balance {balance}")


def _show_files(run: RunFolder) -> None:
    kinds = (
        (run.onnx, "the network, for ONNX Runtime"),
        (run.page, "the report, to look at"),
        (run.card, "the model card"),
        (run.report, "every figure, setting and version"),
        (run.samples, "what the synthetic images look like"),
        (run.diversity, "how varied they are in the teacher's eyes"),
        (run.curve, "how training went"),
        (run.mixed_precision, "which layer got how many bits, and why"),
        (run.student, "the student, for dfq.load"),
    )
    console.fact("Files", f"in {run.path}/")
    console.facts("", [f"{path.name:<20}  {what}" for path, what in kinds if path.exists()])


def show_distilled(report: dict, folder: Path, name: str) -> None:
    """Shows the result of `dfq distill`."""
    console.stdout.print()
    show_decision(decide_distilled(report, folder))
    console.verdict(overrun(report))
    console.stdout.print(agreement_table(report, f"{name} → {report['student']} ({report['settings']['method']})"))
    show_compared(report)
    counts = report["parameters"]
    sizes = (f"{counts[which] / 1e3:,.0f} thousand" for which in ("teacher", "student"))
    console.fact("Parameters", " → ".join(sizes))
    console.fact("Started from", "layers of the teacher" if report["start"] == "teacher" else "random weights")
    console.facts("Notes", report["warnings"])
    _show_seconds(report)
    _show_diversity(report["diversity"])
    run = DistillFolder(folder)
    _show_files(run)
    console.facts("", [f"{run.checkpoint.name:<20}  the student, a checkpoint for `dfq quantize`"])
