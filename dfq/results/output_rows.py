"""What tables and pages show of a network's outputs: how far the student and the file are off, in dB."""

from collections.abc import Iterator, Mapping, Sequence

from dfq.results.number_format import decibels, percent

MOST_ROWS = 6  # A table in a terminal names at most this many outputs.
CONSTANT_PART = 6.0  # dB by which an output's ratio falls where its constant part does not count, and is told from here
PAIRS = ("student_teacher", "onnx_teacher")
KIND_NAMES = {"synthetic": "synthetic images", "labelled": "labelled images", "pictures": "pictures"}


def is_classifier(found: Mapping) -> bool:
    """Returns whether a report, or what `validate` found, is on a classifier."""
    return found["agreement"]["onnx_student"]["synthetic"] is not None


def terminal_rows(outputs: Sequence[Mapping]) -> Iterator[tuple[str, ...]]:
    """Yields rows for the table with teacher, student and ONNX file side by side.

    Where there are many outputs, those that are furthest off are shown.
    """
    worst = sorted(outputs, key=lambda row: _lowest(row, "onnx_teacher"))[:MOST_ROWS]
    shown = [row for row in outputs if row in worst]
    for row in shown:
        for kind in kinds(row):
            yield (f"{row['name']}, {kind}", "", *(decibels(row["snr_db"][pair][kind]) for pair in PAIRS))
            alike = [row["same_choice"][pair][kind] for pair in PAIRS]
            if alike[1] is not None:
                yield ("  same choice", "", *map(percent, alike))
    if len(outputs) > len(shown):
        yield (f"{len(outputs) - len(shown)} more outputs", "", "higher", "higher")


def compared_on(found: Mapping) -> str:
    """Returns how many images the file was compared on, such as "256 synthetic images (32 with the teacher)"."""
    held_out = image_count(found, "synthetic", "student_teacher")
    counts = {kind: f"{count} {KIND_NAMES[kind]}" for kind, count in found["engines"][0]["images"].items()}
    if held_out != image_count(found, "synthetic"):
        counts["synthetic"] += f" ({held_out} held-out ones with the teacher)"
    return ", ".join(counts.values())


def image_count(found: Mapping, kind: str, pair: str = "onnx_student") -> int | None:
    """Returns how many images of a kind a pair of networks was compared on; None where that is not known.

    Nothing is compared with the teacher on synthetic images that training saw, but the file is with its student.
    """
    if kind == "synthetic" and pair in ("student_teacher", "onnx_teacher"):
        return found["images"]
    return found["engines"][0]["images"].get(kind) if found["engines"] else None


def lowest_snr(outputs: Sequence[Mapping], pair: str, kind: str) -> float | None:
    """Returns the ratio of the output that is furthest off; None where it was not measured."""
    figures = [row["snr_db"][pair][kind] for row in outputs]
    return min((figure for figure in figures if figure is not None), default=None)


def best_kind(outputs: Sequence[Mapping]) -> str:
    """Returns the kind of image that says most: real ones where there are some."""
    measured = [kind for kind in ("pictures", "labelled") if lowest_snr(outputs, "onnx_teacher", kind) is not None]
    return measured[0] if measured else "synthetic"


def output_warnings(outputs: Sequence[Mapping], least: float) -> list[str]:
    """Returns a sentence for each output whose file is not its student's, or whose ratio says less than it seems to.

    Args:
        outputs: Rows of `dfq.export.validation.output_agreement.OutputAgreement`.
        least: Ratio of file and student in dB below which something is wrong.
    """
    said = []
    for row in outputs:
        of_file, of_itself = (row["snr_db"][pair]["synthetic"] for pair in ("onnx_student", "student_float64"))
        if of_file is not None and of_file < least:
            said.append(
                f"output '{row['name']}' of the ONNX file has a signal-to-noise ratio of only {decibels(of_file)} to "
                f"the student's (expected ≥ {least:.0f} dB); that of the student in float64 to itself is "
                f"{decibels(of_itself)}: what rounding ties alone do in this network"
            )
        whole, varying = (row[figure]["onnx_teacher"]["synthetic"] for figure in ("snr_db", "varying_snr_db"))
        if whole is not None and varying is not None and whole - varying > CONSTANT_PART:
            said.append(
                f"output '{row['name']}' is mostly constant: its signal-to-noise ratio is {decibels(whole)}, but only "
                f"{decibels(varying)} for what varies between images and positions"
            )
    return said


def kinds(row: Mapping) -> list[str]:
    """Returns the kinds of image that an output was compared on."""
    figures = [row[figure]["onnx_student"] for figure in ("snr_db", "same_choice")]
    return [kind for kind in figures[0] if any(figure[kind] is not None for figure in figures)]


def _lowest(row: Mapping, pair: str) -> float:
    return min((figure for figure in row["snr_db"][pair].values() if figure is not None), default=float("inf"))
