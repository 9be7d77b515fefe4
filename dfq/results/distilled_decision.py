"""`decide_distilled`: one sentence on whether to use a student of another architecture, and the next command."""

from collections.abc import Mapping
from pathlib import Path

from dfq.results.accuracy_change import accuracy_change, needed_images, said_of
from dfq.results.decision import CHECK, DONT, SHIP, SIZES, SPEEDS, Decision, gain, mismatch
from dfq.results.number_format import percent, with_interval
from dfq.results.output_rows import image_count
from dfq.results.settings import DecisionSettings


def decide_distilled(report: Mapping, folder: Path, *, settings: DecisionSettings = DecisionSettings()) -> Decision:
    """Returns the decision on a run of `dfq distill`.

    No accuracy is estimated for a student of another architecture: synthetic images say how often it gives the
    teacher's answer on such images, and nothing about real ones.

    Args:
        report: The content of `report.json`.
        folder: The run folder, for the next command.
        settings: The limits, which are those of a quantized network.
    """
    benefits = _benefits(report)
    if wrong := mismatch(report, settings=settings):
        return Decision(DONT, f"{DONT}: {wrong}.", benefits, "dfq env", is_mismatch=True)
    word, reason, command = _unmeasured(report, folder, settings)
    if (change := accuracy_change(report)) is not None:
        said = said_of(change, "the teacher's")
        if change.drop - change.half > settings.large_student_drop:
            word, reason, command = DONT, f": {said}", "dfq distill … --steps MORE --images MORE"
        elif change.drop + change.half <= settings.small_drop:
            word, reason, command = SHIP, f": {said}", _quantize(folder)
        else:
            word, reason, command = CHECK, f" whether you can afford that: {said}", _quantize(folder)
    return Decision(word, f"{word}{reason}.", benefits, command)


def _unmeasured(report: Mapping, folder: Path, settings: DecisionSettings) -> tuple[str, str, str]:
    agreement = None if report["doubt"] else report["agreement"]["student_teacher"].get("synthetic")
    count = image_count(report, "synthetic", "student_teacher")
    if count and agreement is not None and agreement < settings.least_agreement:
        said = f": it gives the teacher's answer on only {percent(agreement)} of {count} held-out synthetic images"
        return DONT, said, "dfq distill … --steps MORE --images MORE"
    needed = needed_images(max(1 - (agreement or 0.0), settings.usual_disagreement), settings.precision, settings)
    said = "nothing tells its accuracy without them"
    if count and agreement is not None:
        said += f"; on held-out synthetic images it gives the teacher's answer on {with_interval(agreement, count)}"
    return CHECK, f" with ≥ {needed} labelled images: {said}", f"{_quantize(folder)} --data FOLDER"


def _quantize(folder: Path) -> str:
    return f"dfq quantize {folder}/student.pt --bits 8"


def _benefits(report: Mapping) -> str:
    """Returns what the student costs beside the teacher, such as "25 % of the teacher's parameters, 4.0× smaller"."""
    counts = report["parameters"]
    parts = [f"{counts['student'] / counts['teacher']:.0%} of the teacher's parameters".replace("%", " %")]
    for figures, words in (("size_bytes", SIZES), ("latency_ms", SPEEDS)):
        before, after = report[figures]["float_onnx"], report[figures]["onnx"]
        if before and after:
            parts.append(gain(before, after, words))
    return ", ".join(parts)
