"""The section on outputs: how far each is off, in dB."""

from collections.abc import Mapping, Sequence

from dfq.results.number_format import decibels, percent
from dfq.results.output_rows import PAIRS, kinds
from dfq.results.page.parts import Section, Table

EXPLAINED = (
    "Signal-to-noise ratio of each output against the teacher's, in dB: 20 dB more are a tenth of the error. What "
    "varies is the output less the mean of each channel."
)
HEAD = ("output", "shape", "images", "student", "file", "file, what varies", "file, same choice", "file = student")


def output_section(outputs: Sequence[Mapping], images: str) -> list[Section]:
    """Returns the section with a row for each output and kind of image; an empty list where there are none.

    Args:
        outputs: Rows of `dfq.export.validation.output_agreement.OutputAgreement`.
        images: How many images there are, in words.
    """
    rows = tuple(
        (
            row["name"],
            "×".join(map(str, row["shape"])),
            kind,
            *(decibels(row["snr_db"][pair][kind]) for pair in PAIRS),
            decibels(row["varying_snr_db"]["onnx_teacher"][kind]),
            percent(row["same_choice"]["onnx_teacher"][kind]),
            decibels(row["snr_db"]["onnx_student"][kind]),
        )
        for row in outputs
        for kind in kinds(row)
    )
    return [Section("Outputs", f"{EXPLAINED} Measured on {images}.", table=Table(HEAD, rows))] if rows else []
