"""Says where a run took longer than its time budget."""

from collections.abc import Mapping

from dfq.results.number_format import seconds
from dfq.results.verdict import Sentence


def overrun(report: Mapping) -> list[Sentence]:
    """Returns a sentence where the run took longer than its budget; nothing where it did not, or had none."""
    budget, took = report.get("budget"), report["seconds"]["total"]  # Older reports have no record of a budget.
    if budget is None or took <= budget["limit"]:
        return []
    more = seconds(took - budget["limit"])
    return [Sentence(f"The run took {seconds(took)}, {more} more than its budget of {seconds(budget['limit'])}.", True)]
