"""The jobs whose methods can be compared: one row each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from dfq.errors import DfqError
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
    """What the tables and plots of a comparison call things.

    Attributes:
        column, axis: what stands over the columns of a table, and below the horizontal axis.
        command: whose run folders the cells are.
        conditions: of the settings that all cells share.
    """

    column: str
    axis: str
    command: str
    conditions: Callable[[dict], str]


class Job(Protocol):
    """What is done in each cell.

    A comparison's columns are the job's variants: numbers of bits, or architectures of students.

    Attributes:
        name: what `--job` takes.
        labels: what tables and plots call its variants.
        example: of the option that names the variants.
        settings_class: its fields `method`, `bits` and `seed` are a cell's own.
    """

    name: str
    labels: ComparisonLabels
    example: str
    settings_class: type

    def settle(self, shared: Any, variant: Any) -> Any:
        """The settings of a column."""

    def column(self, settings: Any, variant: Any) -> str:
        """Its name in tables."""

    def in_order(self, variants: list) -> list:
        """Along the horizontal axis; the first one's images are shown."""

    def check(self, teacher: Teacher, settings: Any, variant: Any) -> None:
        """Raises `DfqError` for what would fail every cell of a column."""

    def run(self, teacher: Teacher, out: Path, settings: Any, variant: Any, **options) -> dict:
        """Runs a cell; the content of its `report.json`."""

    def student(self, teacher: Teacher, run: RunFolder, variant: Any) -> nn.Module:
        """Of a finished cell, in evaluation mode."""


def _distillation_conditions(shared: dict) -> str:
    return "steps and images of each method's default" if shared["steps"] is None else f"{shared['steps']} steps"


class QuantizeJob:
    """A low-bit copy of the teacher; variants are bits of weights and activations, each 2 to 8.

    `Settings.weight_bits` or `.activation_bits` replaces one half.
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
        """ "W4A4"."""
        scheme = settings.make_scheme()
        return f"W{scheme.weight_bits}A{scheme.activation_bits}"

    def in_order(self, variants):
        return sorted(variants)

    def check(self, teacher, settings, variant):
        make_student(teacher, settings.make_scheme())

    def run(self, teacher, out, settings, variant, **options):
        return quantize_model(teacher, out, settings, **options).report

    def student(self, teacher, run, variant):
        return load_run(run.path, model=teacher.model)


class DistillJob:
    """A network of another architecture, in floating point; variants are names of architectures."""

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
        """ "dfq/resnet20", "net.py:make_student"."""
        return Path(variant).name if ".py:" in variant else variant

    def in_order(self, variants):
        return list(variants)

    def check(self, teacher, settings, variant):
        build_student(variant, teacher, settings.seed)

    def run(self, teacher, out, settings, variant, **options):
        return distill_model(teacher, variant, out, settings, **options).report

    def student(self, teacher, run, variant):
        student = build_student(variant, teacher, seed=0)
        DistillFolder(run.path).restore(student)
        return student.model


JOBS: dict[str, Job] = {job.name: job for job in (QuantizeJob(), DistillJob())}


def find_job(name: str) -> Job:
    """Raises `DfqError` for a name that is no row."""
    if name not in JOBS:
        raise DfqError(f"job {name!r}", f"one of {', '.join(JOBS)}")
    return JOBS[name]
