"""The table of jobs whose methods can be compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from dfq.errors import DfqError
from dfq.jobs.context import RunOptions
from dfq.jobs.distill import DistillFolder, DistillSettings, distill_model
from dfq.jobs.distill.student import build_student
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.results.load_run import load_run
from dfq.results.run_folder import RunFolder
from dfq.student.convert import make_student
from dfq.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class ComparisonLabels:
    """The words that the tables and plots of a comparison use.

    Attributes:
        column: Word for what the columns of a table are.
        axis: Label of the horizontal axis.
        command: Command whose run folders the cells are.
        conditions: Describes the settings that all cells share, in a few words.
    """

    column: str
    axis: str
    command: str
    conditions: Callable[[dict], str]


class Job(Protocol):
    """What is done in each cell of a comparison.

    The columns of a comparison are the variants of the job: numbers of bits, or architectures of students.

    Attributes:
        name: What `--job` takes.
        labels: The words for its variants in tables and plots.
        example: Example of the option that names the variants.
        settings_class: Class of its settings; the fields `method`, `bits` and `seed` differ from cell to cell.
    """

    name: str
    labels: ComparisonLabels
    example: str
    settings_class: type

    def settle(self, shared: Any, variant: Any) -> Any:
        """Returns the settings of a column."""

    def column(self, settings: Any, variant: Any) -> str:
        """Returns the name of a column in tables."""

    def in_order(self, variants: list) -> list:
        """Returns the variants as they stand along the horizontal axis; the images of the first one are shown."""

    def check(self, teacher: Teacher, settings: Any, variant: Any) -> None:
        """Raises `DfqError` where every cell of a column would fail."""

    def run(self, teacher: Teacher, out: Path, settings: Any, variant: Any, options: RunOptions) -> dict:
        """Runs a cell and returns the content of its `report.json`."""

    def student(self, teacher: Teacher, run: RunFolder, variant: Any) -> nn.Module:
        """Returns the student of a finished cell, in evaluation mode."""


def _distillation_conditions(shared: dict) -> str:
    if shared["steps"] is not None:
        return f"{shared['steps']} steps"
    return "the default number of steps" if shared["budget"] is None else "as many steps as the time allows"


class QuantizeJob:
    """Makes a low-bit copy of the teacher; the variants are bits of weights and activations, each 2 to 8.

    `Settings.weight_bits` or `Settings.activation_bits` replaces one of the two.
    """

    name, example = "quantize", "--bits 4"
    labels = ComparisonLabels(
        column="width",
        axis="bits of weights and activations",
        command="dfq quantize",
        conditions=lambda shared: f"scheme {shared['scheme']}",
    )
    settings_class: type = Settings

    def settle(self, shared, variant):
        return replace(shared, bits=variant)

    def column(self, settings, variant):
        """Returns a name such as "W4A4"."""
        scheme = settings.make_scheme()
        return f"W{scheme.weight_bits}A{scheme.activation_bits}"

    def in_order(self, variants):
        return sorted(variants)

    def check(self, teacher, settings, variant):
        make_student(teacher, settings.make_scheme())

    def run(self, teacher, out, settings, variant, options):
        return quantize_model(teacher, out, settings, options).report

    def student(self, teacher, run, variant):
        return load_run(run.path, model=teacher.model)


class DistillJob:
    """Makes a network of another architecture, in floating point; the variants are names of architectures."""

    name, example = "distill", "--student dfq/resnet20"
    labels = ComparisonLabels(
        column="student",
        axis="architecture of the student",
        command="dfq distill",
        conditions=_distillation_conditions,
    )
    settings_class: type = DistillSettings

    def settle(self, shared, variant):
        return shared

    def column(self, settings, variant):
        """Returns a name such as "dfq/resnet20" or "net.py:make_student"."""
        return Path(variant).name if ".py:" in variant else variant

    def in_order(self, variants):
        return list(variants)

    def check(self, teacher, settings, variant):
        build_student(variant, teacher, settings.seed)

    def run(self, teacher, out, settings, variant, options):
        return distill_model(teacher, variant, out, settings, options).report

    def student(self, teacher, run, variant):
        student = build_student(variant, teacher, seed=0)
        DistillFolder(run.path).restore(student)
        return student.model


JOBS: dict[str, Job] = {job.name: job for job in (QuantizeJob(), DistillJob())}


def find_job(name: str) -> Job:
    """Returns the job of that name.

    Raises:
        DfqError: There is no such job.
    """
    if name not in JOBS:
        raise DfqError(f"job {name!r}", f"one of {', '.join(JOBS)}")
    return JOBS[name]
