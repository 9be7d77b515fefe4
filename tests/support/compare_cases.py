"""Comparisons that the tests of `dfq compare` share."""

from pathlib import Path

from dfq.errors import DfqError
from dfq.jobs.compare import ComparisonPlan
from dfq.jobs.compare.summary import make_content, waiting_row
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings

QUICK = Settings(images=16, steps=2, budget=1.0, ranges="minmax")
METHODS = ("zeroq", "zeroq-kd")


def plan(methods=METHODS, bits=(4,), seeds=1, settings=QUICK) -> ComparisonPlan:
    return ComparisonPlan(methods=methods, variants=bits, seeds=seeds, settings=settings)


class Calls(list):
    """Stands for `quantize_model`: remembers the run folders' names; fails where it is told to."""

    def __init__(self, failing: str | None = None):
        self.failing = failing

    def __call__(self, teacher, out, *arguments, **options):
        self.append(Path(out).name)
        if Path(out).name == self.failing:
            raise DfqError("an operator of the test", "one that can be exported", "another network", exit_code=1)
        return quantize_model(teacher, out, *arguments, **options)


def fabricated(data: bool, widths=(8, 4, 3), seeds=2) -> dict:
    """The content of a comparison that nobody ran."""
    made = plan(bits=widths, seeds=seeds)
    rows = {
        cell.name: {
            **waiting_row(cell), "state": "finished", "seconds": 10.0 * cell.settings.bits, "agreement": 0.5,
            "common_agreement": 0.6 + cell.settings.seed / 10, "accuracy": 0.8 if data else None,
            "teacher_accuracy": 0.9 if data else None,
        }
        for cell in made.cells
    }  # fmt: skip
    conditions = {"job": "quantize", "data": "0" if data else None, "settings": made.shared()}
    header = {"arch": None, "conditions": conditions}
    return make_content(header, made, rows, 64)
