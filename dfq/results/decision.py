"""`decide`: one sentence on whether to use a file, with its reasons and the next command.

It rests on the content of `report.json` alone, and says nothing that was not measured: without labelled images the best
that a file can get is "Check it", with the number of images that would tell.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, sqrt
from pathlib import Path

from dfq.export.validation.settings import RoundingTieSettings
from dfq.results.number_format import interval, percent
from dfq.results.output_rows import best_kind, image_count, is_classifier, lowest_snr
from dfq.results.settings import DecisionSettings
from dfq.results.verdict import share

SHIP, CHECK, DONT = "Ship it", "Check it", "Don't"
Z = 1.96  # standard deviations on either side of a 95 % interval


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
    accuracy, count = report["accuracy"], image_count(report, "labelled") or 1
    drop = accuracy["teacher"] - accuracy["onnx"]
    apart = max(1 - (report["agreement"]["student_teacher"].get("labelled") or 0.0), 1 / count)
    half = Z * sqrt(apart / count)  # of a difference between two networks on the same images
    said = (
        f"its accuracy is {_signed(-drop)} points beside the network's on {count} labelled images (95 % interval "
        f"{_signed(-drop - half)} to {_signed(-drop + half)})"
    )
    if drop - half > settings.large_drop:
        return DONT, f": {said}", _more_bits(report)
    if drop + half <= settings.small_drop:
        return SHIP, f": {said}", ""
    if drop >= settings.small_drop:
        return CHECK, f" whether you can afford that: {said}", _more_bits(report)
    return (
        CHECK,
        f" with ≥ {_needed(apart, settings.small_drop - drop, settings)} labelled images: {said}",
        _validate(folder),
    )


def _unmeasured(report: Mapping, folder: Path, settings: DecisionSettings) -> tuple[str, str, str]:
    """Decides on a classifier of which no accuracy was measured."""
    evidence = report["evidence"]
    expected = evidence["predicted_drop"]
    if expected is None:
        needed = _needed(settings.usual_disagreement, settings.precision, settings)
        return (
            CHECK,
            f" with ≥ {needed} labelled images: no accuracy is estimated, because {evidence['withheld']}",
            _validate(folder),
        )
    said = f"it is expected to keep {100 * (1 - expected):.1f} % of the teacher's accuracy"
    if expected > settings.large_expected_drop:
        return DONT, f": {said}", _more_bits(report)
    needed = _needed(max(2 * expected, settings.least_disagreement), settings.precision, settings)
    return CHECK, f" with ≥ {needed} labelled images: {said}, which is an estimate", _validate(folder)


def _of_outputs(report: Mapping, folder: Path, settings: DecisionSettings) -> tuple[str, str, str]:
    """Decides on a network that is no classifier, by the output that is furthest off."""
    kind = best_kind(report["outputs"])
    ratio = lowest_snr(report["outputs"], "onnx_teacher", kind)
    if ratio is None:
        return CHECK, f" with ≥ {settings.pictures} real pictures: no output could be compared", ""
    said = f"its outputs are {ratio:.1f} dB from the network's on {image_count(report, kind)} {kind} images"
    if ratio < settings.low_snr_db:
        return DONT, f": {said}", _more_bits(report)
    if kind == "synthetic":
        return CHECK, f" with ≥ {settings.pictures} real pictures: {said}", f"dfq validate {folder} --pictures FOLDER"
    return CHECK, f" in your application: {said}", ""


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f}".replace("-", "−")


def _needed(apart: float, precision: float, settings: DecisionSettings) -> int:
    """Returns how many images tell a drop to that precision, if the answers of two networks differ on that share."""
    wanted = apart * (Z / precision) ** 2
    return min(max(ceil(wanted / 100) * 100, settings.fewest), settings.most)


def _validate(folder: Path) -> str:
    return f"dfq validate {folder} --data FOLDER"


def _more_bits(report: Mapping) -> str:
    scheme = report["settings"]["scheme"]
    if scheme["activation_bits"] < 8:
        return "dfq quantize … --activation-bits 8"
    return "dfq quantize … --bits 8" if scheme["weight_bits"] < 8 else ""


def _benefits(report: Mapping) -> str:
    """Returns size, speed and share on integers, such as "3.8× smaller, 1.9× faster, 99.1 % on integers"."""
    parts = []
    for figures, better, worse in (("size_bytes", "smaller", "larger"), ("latency_ms", "faster", "slower")):
        before, after = report[figures]["float_onnx"], report[figures]["onnx"]
        if before and after:
            parts.append(f"{before / after:.1f}× {better}" if before >= after else f"{after / before:.1f}× {worse}")
    return ", ".join([*parts, f"{share(report['coverage']['share_of_macs'])} of the multiply–accumulates on integers"])
