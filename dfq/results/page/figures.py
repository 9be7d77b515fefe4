"""The row of five figures by which a person decides, each with the images that it rests on, and its interval."""

from collections.abc import Callable, Mapping

from dfq.results.accuracy_change import accuracy_change
from dfq.results.decision import SIZES, SPEEDS, Words, gain
from dfq.results.number_format import NOTHING, decibels, ends, interval, milliseconds, percent, signed, size
from dfq.results.output_rows import KIND_NAMES, best_kind, image_count, is_classifier, lowest_snr
from dfq.results.page.parts import Figure
from dfq.results.verdict import share

FLOAT = "in floating point"


def figures(report: Mapping, other: str = FLOAT) -> list[Figure]:
    """Returns the figures of a report.

    Args:
        report: The content of `report.json`.
        other: What size and latency are compared with, in words that follow "than".
    """
    answers = _of_classes(report) if is_classifier(report) else _of_outputs(report)
    first = _accuracy(report) or _expected(report) or _coverage(report)
    return [*([first] if first else []), *answers, _size(report, other), _latency(report, other)]


def _accuracy(report: Mapping) -> Figure | None:
    change = accuracy_change(report)
    if change is None:
        return None
    drop, half, count = change
    interval = f"{signed(-drop - half)} to {signed(-drop + half)}"
    basis = f"{signed(-drop)} points beside the teacher's (95 %: {interval}), {count} labelled images"
    return Figure(percent(report["accuracy"]["onnx"], 1), "accuracy of the file", basis)


def _expected(report: Mapping) -> Figure | None:
    evidence = report["evidence"]
    expected, limits = evidence.get("predicted_drop"), evidence.get("drop_interval")
    if expected is None:
        return None
    said = "an estimate, from synthetic images alone"
    basis = said if limits is None else f"{ends(1 - limits[1], 1 - limits[0])}; {said}"
    return Figure(percent(1 - expected, 1), "of the teacher's accuracy is expected", basis)


def _coverage(report: Mapping) -> Figure | None:
    coverage = report.get("coverage")
    if not coverage:
        return None
    layers = coverage["layers"]
    count = sum(layer["reason"] is None for layer in layers)
    basis = f"{count} of {len(layers)} layers with weights"
    return Figure(share(coverage["share_of_macs"]), "of the multiply–accumulates on integers", basis)


def _of_classes(report: Mapping) -> list[Figure]:
    kind = "labelled" if report["agreement"]["student_teacher"].get("labelled") is not None else "synthetic"
    of_file = _agreement(report, "onnx_student", kind, "the file gives the student's class")
    if kind == "synthetic" and report.get("doubt"):
        return [_of_outputs(report)[0], of_file]
    return [_agreement(report, "student_teacher", kind, "the student gives the teacher's class"), of_file]


def _agreement(report: Mapping, pair: str, kind: str, name: str) -> Figure:
    found, count, images = report["agreement"][pair][kind], image_count(report, kind, pair), _images(report, kind, pair)
    basis = images if found is None or not count else f"95 %: {ends(*interval(found, count))}; {images}"
    return Figure(percent(found, 1), name, basis)


def _of_outputs(report: Mapping) -> list[Figure]:
    """Returns how far the file is from the network and from its student, on the output that is furthest off."""
    outputs = report["outputs"]
    kind, worst = best_kind(outputs), "" if len(outputs) == 1 else f"; the worst of {len(outputs)} outputs"
    rows = (
        ("onnx_teacher", "signal-to-noise ratio of the file to the network"),
        ("onnx_student", "signal-to-noise ratio of the file to its student"),
    )
    return [
        Figure(
            decibels(lowest_snr(outputs, pair, kind)),
            name,
            _images(report, kind, pair) + worst,
        )
        for pair, name in rows
    ]


def _images(report: Mapping, kind: str, pair: str) -> str:
    held_out = "held-out " if kind == "synthetic" and pair != "onnx_student" else ""
    return f"{image_count(report, kind, pair)} {held_out}{KIND_NAMES[kind]}"


def _size(report: Mapping, other: str) -> Figure:
    found = report["size_bytes"]
    return Figure(size(found["onnx"]), "size of the file", _compared(found, SIZES, other, size))


def _latency(report: Mapping, other: str) -> Figure:
    found = report["latency_ms"]
    basis = _compared(found, SPEEDS, other, milliseconds)
    return Figure(milliseconds(found["onnx"]), "for one image, in ONNX Runtime", basis)


def _compared(found: Mapping, words: Words, other: str, text: Callable[[float], str]) -> str:
    before, after = found["float_onnx"], found["onnx"]
    return f"{gain(before, after, words, other)} ({text(before)})" if before and after else NOTHING
