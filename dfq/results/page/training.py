"""The section on training: curves, or numbers where there are few of them."""

from collections.abc import Mapping

from dfq.results.number_format import NOTHING, number, seconds
from dfq.results.page.alternative_texts import of_curve
from dfq.results.page.parts import Section, Table
from dfq.results.page.pictures import picture
from dfq.results.run_folder import RunFolder

FEWEST_POINTS = 10  # A curve of fewer points is shown as numbers.
FIRST = ("step", "seconds", "learning_rate")  # columns that stand in front of the losses
HEADINGS = {"learning_rate": "learning rate", "held_out": "held-out divergence, nats"}


def training_section(report: Mapping, run: RunFolder) -> list[Section]:
    """Returns the section on training end to end; an empty list where there was none."""
    training = report["training"]
    if not training:
        return []
    text = f"{training['steps']} steps; the state of step {training['chosen_step']} was kept."
    if len(training["records"]) < FEWEST_POINTS:
        return [Section("Training", text, table=_numbers(training["records"]))]
    return [Section("Training", text, picture=picture(run.curve, of_curve(training)))]


def _numbers(records: list[Mapping]) -> Table:
    columns = [*FIRST, *sorted({name for record in records for name in record} - {*FIRST, "held_out"}), "held_out"]
    rows = tuple(tuple(_cell(name, record.get(name)) for name in columns) for record in records)
    return Table(tuple(HEADINGS.get(name, name) for name in columns), rows)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    return str(value) if name == "step" else seconds(value) if name == "seconds" else number(value)
