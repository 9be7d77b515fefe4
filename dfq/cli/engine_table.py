"""The table of what each engine makes of a file."""

from dfq.cli import console
from dfq.results.number_format import decibels, milliseconds, percent


def show_engines(rows: list[dict]) -> None:
    """Prints a row for each engine that ran, and a line with the reason for each that did not.

    Args:
        rows: What each engine made of the file (`dfq.export.Agreement.to_dict()["engines"]`).
    """
    ran = [row for row in rows if row["skipped"] is None]
    labelled = any(row["accuracy"] is not None for row in ran)
    is_classifier = any(row["agreement"]["synthetic"] is not None for row in ran)
    compared = "top-1 = student" if is_classifier else "SNR to the student"
    columns = ("engine", "images", compared, *(["accuracy"] if labelled else []), "latency", "in float")
    console.stdout.print(console.table("Engines", columns, [_cells(row, labelled, is_classifier) for row in ran]))
    console.facts("Skipped", [f"{row['engine']}: {row['skipped']}" for row in rows if row["skipped"]])


def _cells(row: dict, labelled: bool, is_classifier: bool) -> tuple[str, ...]:
    figures, shown = (row["agreement"], percent) if is_classifier else (row["snr_db"], decibels)
    agreement = ", ".join(shown(figure) for figure in figures.values() if figure is not None)
    nodes = "" if row["float_nodes"] is None else str(len(row["float_nodes"]))
    accuracy = [percent(row["accuracy"])] if labelled else []
    images = ", ".join(str(count) for count in row["images"].values())
    return (row["engine"], images, agreement, *accuracy, milliseconds(row["latency_ms"]), nodes)
