"""`decide`: one sentence on whether to use a file, with its reasons and the next command.

It rests on the content of `report.json` alone, and says nothing that was not measured: without labelled images the best
that a file can get is "Check it", with the number of images that would tell.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dfq.export.validation.settings import RoundingTieSettings
from dfq.results.accuracy_change import accuracy_change, disagreement, needed_images, said_of
from dfq.results.number_format import interval, kept, percent
from dfq.results.output_rows import best_kind, image_count, is_classifier, lowest_snr
from dfq.results.settings import DecisionSettings
from dfq.results.verdict import share

SHIP, CHECK, DONT = "Ship it", "Check it", "Don't"
Words = tuple[str, str, str]  # for a ratio above 1, one below, and one of 1
SIZES: Words = ("smaller", "larger", "as large")
SPEEDS: Words = ("faster", "slower", "as fast")


@dataclass(frozen=True)
class Decision:
    """What a person should do with a file.

    Attributes:
        word: "Ship it", "Check it" or "Don't".
        sentence: The word with its reason.
        benefits: What the file is good for: size, speed, and the share on integers.
        command: The next command; empty where there is none.
        is_mismatch: Whether the file does not do what its student does.
    """

    word: str
    sentence: str
    benefits: str
    command: str
    is_mismatch: bool = False

    def to_dict(self) -> dict:
        return asdict(self)


def decide(report: Mapping, folder: Path, *, settings: DecisionSettings = DecisionSettings()) -> Decision:
    """Returns the decision on a run of `dfq quantize`.

    Args:
        report: The content of `report.json`.
        folder: The run folder, for the next command.
        settings: The limits.
    """
    benefits = _benefits(report)
    wrong = mismatch(report, settings=settings)
    if wrong:
        return Decision(DONT, f"{DONT}: {wrong}.", benefits, "dfq env", is_mismatch=True)
    if not is_classifier(report):
        word, reason, command = _of_outputs(report, folder, settings)
    elif report["accuracy"]["onnx"] is not None:
        word, reason, command = _measured(report, folder, settings)
    else:
        word, reason, command = _unmeasured(report, folder, settings)
    return Decision(word, f"{word}{reason}.", benefits, command)


def mismatch(found: Mapping, *, settings: DecisionSettings = DecisionSettings()) -> str | None:
    """Returns in words that a file does not do what its student does, beyond what rounding ties explain; else None.

    Args:
        found: A report, or what `validate` found.
        settings: The limits.
    """
    for kind, of_file in found["agreement"]["onnx_student"].items():
        of_itself = found["agreement"]["student_float64"].get(kind)
        count = image_count(found, kind)
        if of_file is None or of_itself is None or not count:
            continue
        few = min(count, RoundingTieSettings().images)  # the student was compared with itself on so many
        if interval(of_file, count)[1] < interval(of_itself, few)[0]:
            return (
                f"the file has the student's answer on only {percent(of_file)} of {count} {kind} images, and rounding "
                f"ties explain {percent(of_itself)}"
            )
    for row in found["outputs"]:
        of_file, of_itself = (row["snr_db"][pair]["synthetic"] for pair in ("onnx_student", "student_float64"))
        if (
            of_file is not None
            and of_file < settings.min_snr_db
            and (of_itself or 0) > of_file + settings.snr_margin_db
        ):
            return f"output '{row['name']}' of the file is only {of_file:.1f} dB from the student's"
    return None


def _measured(report: Mapping, folder: Path, settings: DecisionSettings) -> tuple[str, str, str]:
    """Decides on a classifier whose accuracy was measured on labelled images."""
    change = accuracy_change(report)
    assert change is not None
    drop, half, count = change
    said = said_of(change, "the network's")
    if drop - half > settings.large_drop:
        return DONT, f": {said}", _better_student(report)
    if drop + half <= settings.small_drop:
        return SHIP, f": {said}", _speed(folder)
    if drop >= settings.small_drop:
        return CHECK, f" whether you can afford that: {said}", _better_student(report)
    needed = needed_images(disagreement(report, count), settings.small_drop - drop, settings)
    return CHECK, f" with ≥ {needed} labelled images: {said}", _validate(folder)


def _unmeasured(report: Mapping, folder: Path, settings: DecisionSettings) -> tuple[str, str, str]:
    """Decides on a classifier of which no accuracy was measured."""
    evidence = report["evidence"]
    expected = evidence["predicted_drop"]
    if expected is None:
        needed = needed_images(settings.usual_disagreement, settings.precision, settings)
        return (
            CHECK,
            f" with ≥ {needed} labelled images: no accuracy is estimated, because {evidence['withheld']}",
            _validate(folder),
        )
    said = f"it is expected to keep {kept(expected, evidence.get('drop_interval'))} of the teacher's accuracy"
    if expected > settings.large_expected_drop:
        return DONT, f": {said}", _better_student(report)
    needed = needed_images(max(2 * expected, settings.least_disagreement), settings.precision, settings)
    return CHECK, f" with ≥ {needed} labelled images: {said}, which is an estimate", _validate(folder)


def _of_outputs(report: Mapping, folder: Path, settings: DecisionSettings) -> tuple[str, str, str]:
    """Decides on a network that is no classifier, by the output that is furthest off."""
    kind = best_kind(report["outputs"])
    ratio = lowest_snr(report["outputs"], "onnx_teacher", kind)
    if ratio is None:
        return CHECK, f" with ≥ {settings.pictures} real pictures: no output could be compared", _pictures(folder)
    count = image_count(report, kind, "onnx_teacher")
    said = f"its outputs are {ratio:.1f} dB from the network's on {count} {kind} images"
    if ratio < settings.low_snr_db:
        return DONT, f": {said}", _better_student(report)
    if kind == "synthetic":
        return CHECK, f" with ≥ {settings.pictures} real pictures: {said}", _pictures(folder)
    return CHECK, f" in your application: {said}", _speed(folder)


def _validate(folder: Path) -> str:
    return f"dfq validate {folder} --data FOLDER"


def _pictures(folder: Path) -> str:
    return f"dfq validate {folder} --pictures FOLDER"


def _speed(folder: Path) -> str:
    return f"dfq validate {folder} --performance"


def _better_student(report: Mapping) -> str:
    scheme = report["settings"]["scheme"]
    if scheme["activation_bits"] < 8:
        return "dfq quantize … --activation-bits 8"
    if scheme["weight_bits"] < 8:
        return "dfq quantize … --bits 8"
    return "dfq quantize … --method reconstruct" if report["settings"]["method"] != "reconstruct" else ""


def _benefits(report: Mapping) -> str:
    """Returns size, speed and share on integers, such as "3.8× smaller, 1.9× faster, 99.1 % on integers"."""
    parts = []
    for figures, words in (("size_bytes", SIZES), ("latency_ms", SPEEDS)):
        before, after = report[figures]["float_onnx"], report[figures]["onnx"]
        if before and after:
            parts.append(gain(before, after, words))
    return ", ".join([*parts, f"{share(report['coverage']['share_of_macs'])} of the multiply–accumulates on integers"])


def gain(before: float, after: float, words: Words, than: str = "") -> str:
    """Returns a ratio in words, such as "3.8× smaller", or "3.8× smaller than the teacher" with `than`."""
    better, worse, alike = words
    times = f"{max(before, after) / min(before, after):.1f}"
    if times == "1.0":
        return f"about {alike} as {than}" if than else f"about {alike}"
    return f"{times}× {better if before > after else worse}" + (f" than {than}" if than else "")
