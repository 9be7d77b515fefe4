"""The jobs whose methods can be compared: one row each."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from dfq.comparison.words import WORDS
from dfq.convert import quantize
from dfq.distillation import DistillFolder, DistillSettings, distill_model
from dfq.distillation.student import make_student
from dfq.errors import DfqError
from dfq.pipeline import quantize_model
from dfq.run_folder import RunFolder, load_run
from dfq.settings import Settings
from dfq.teacher import Teacher


class Job(Protocol):
    """What is done in each cell.

    A comparison's columns are the job's variants: numbers of bits, or architectures of students.

    Attributes:
        name: what `--job` takes.
        example: of the option that names the variants.
        settings_class: its fields `method`, `bits` and `seed` are a cell's own.
    """

    name: str
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


class QuantizeJob:
    """A low-bit copy of the teacher; variants are bits of weights and activations, each 2 to 8.

    `Settings.weight_bits` or `.activation_bits` replaces one half.
    """

    name, example = "quantize", "--bits 4"
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
        quantize(teacher, settings.make_scheme())

    def run(self, teacher, out, settings, variant, **options):
        return quantize_model(teacher, out, settings, **options).report

    def student(self, teacher, run, variant):
        return load_run(run.path, model=teacher.model)


class DistillJob:
    """A network of another architecture, in floating point; variants are names of architectures."""

    name, example = "distill", "--student dfq/resnet20"
    settings_class: type = DistillSettings

    def settle(self, shared, variant):
        return shared

    def column(self, settings, variant):
        """ "dfq/resnet20", "net.py:make_student"."""
        return Path(variant).name if ".py:" in variant else variant

    def in_order(self, variants):
        return list(variants)

    def check(self, teacher, settings, variant):
        make_student(variant, teacher, settings.seed)

    def run(self, teacher, out, settings, variant, **options):
        return distill_model(teacher, variant, out, settings, **options).report

    def student(self, teacher, run, variant):
        student = make_student(variant, teacher, seed=0)
        DistillFolder(run.path).restore(student)
        return student.model


JOBS: dict[str, Job] = {job.name: job for job in (QuantizeJob(), DistillJob())}
assert JOBS.keys() == WORDS.keys()


def find_job(name: str) -> Job:
    """Raises `DfqError` for a name that is no row."""
    if name not in JOBS:
        raise DfqError(f"job {name!r}", f"one of {', '.join(JOBS)}")
    return JOBS[name]
