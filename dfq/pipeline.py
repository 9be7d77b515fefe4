"""The main job: teacher in, proved low-bit ONNX file and report out. Reads like the picture in the README."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from dfq import pictures, report
from dfq.batch import Batch
from dfq.budget import Budget
from dfq.calibrate import calibrate, snap_biases
from dfq.convert import quantize
from dfq.diversity import measure_diversity
from dfq.diversity_picture import diversity_plot
from dfq.export import export_float_onnx, export_onnx, validate
from dfq.labelled import Labelled
from dfq.progress import Progress, Silent
from dfq.run_folder import RunFolder, write_json
from dfq.settings import Settings
from dfq.teacher import Teacher
from dfq.train import History, Trainer

SYNTHESIS_SHARE = 0.4  # of the budget
RESERVE_SECONDS, LEAST_TRAINING_SHARE = 15.0, 0.3  # kept for export and validation; of what synthesis left
LEAST_AGREEMENT = 0.998


@dataclass(frozen=True)
class Result:
    """What a run gives back: the tuned student, its teacher, the folder, and the content of `report.json`."""

    student: fx.GraphModule
    teacher: Teacher
    folder: Path
    report: dict
    history: History | None


class _Clock:
    """Seconds of each stage."""

    def __init__(self):
        self.seconds: dict[str, float] = dict.fromkeys(("synthesis", "training", "export", "validation"), 0.0)
        self._start = time.monotonic()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - start

    def to_dict(self) -> dict[str, float]:
        return {**self.seconds, "total": time.monotonic() - self._start}


def quantize_model(
    teacher: Teacher,
    out: str | Path,
    settings: Settings,
    *,
    arch: str | None = None,
    assumed: tuple[str, ...] = (),
    labelled: Labelled | None = None,
    batch: Batch | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Quantizes `teacher` without data and writes the run folder `out`.

    Args:
        arch: name that the network can be rebuilt by (`dfq.models.registry`); None: only from Python.
        assumed: sentences on what was guessed while loading, for the report.
        labelled: real images, opened only after everything is decided, to report accuracy.
        batch: images made before, such as another run's (`RunFolder.load_images`); None: the method makes them.
        resume: go on with a killed run of the same settings.
        overwrite: replace the results of an earlier run.

    Raises:
        DfqError: see the stages.
    """
    progress, clock, budget, run = progress or Silent(), _Clock(), Budget(settings.budget), RunFolder(out)
    scheme = settings.make_scheme()
    student = quantize(teacher, scheme)
    spec = teacher.input_spec
    run.prepare(_config(teacher, settings, arch), resume=resume, overwrite=overwrite)

    with clock.stage("synthesis"):
        batch, notes = (batch, []) if batch else _images(teacher, settings, run, budget, progress)
        training, held_out = batch.split(held_out_count(len(batch)))
        pictures.contact_sheet(batch, spec, run.samples)
        diversity = measure_diversity(teacher, batch)
        diversity_plot(diversity, run.diversity)
    with clock.stage("training"):
        calibrate(student, training.images[:256], ranges=settings.ranges, seed=settings.seed, progress=progress)
        history = _train(teacher, student, settings, training, held_out, run, budget, progress)
        snap_biases(student.eval())
        run.save_student(student)
    with clock.stage("export"), progress.task("Exporting ONNX", 2) as task:
        export_onnx(student, run.onnx, spec)
        task.advance()
        export_float_onnx(teacher.model, run.float_onnx, spec)
        task.advance()
    with clock.stage("validation"):
        agreement = validate(
            run.onnx,
            student,
            held_out.images,
            teacher=teacher,
            float_path=run.float_onnx,
            labelled=labelled,
            progress=progress,
        ).to_dict()

    warnings = [
        *(f"assumed {sentence}" for sentence in assumed),
        *notes,
        *(history.notes if history else []),
        *_doubts(agreement),
    ]
    content = {
        "arch": arch,
        "input_spec": spec.to_dict(),
        **agreement,
        "seconds": clock.to_dict(),
        "settings": {**settings.to_dict(), "scheme": scheme.to_dict(), "images": len(batch)},
        "diversity": diversity.to_dict(),
        "training": history.to_dict() if history else None,
        "layers": report.layers(student),
        "seed": settings.seed,
        "versions": report.versions(),
        "hardware": report.hardware(teacher.device),
        "warnings": warnings,
    }
    if history:
        pictures.learning_curve(history.records, run.curve, history.chosen_step)
    write_json(run.report, content)
    run.remove_scratch()
    return Result(student, teacher, run.path, content, history)


def synthesize(
    teacher: Teacher, settings: Settings, *, budget: Budget | None = None, progress: Progress | None = None
) -> tuple[Batch, list[str]]:
    """(images of the method, notes for the report)."""
    spec = teacher.input_spec
    synthesizer = settings.chosen_method.synthesizer(
        teacher, settings.synthesis(spec), seed=settings.seed, budget=budget, progress=progress
    )
    return synthesizer.sample(settings.image_count(spec)), synthesizer.notes


def held_out_count(images: int) -> int:
    """How many of the synthetic images are never trained on: one in eight, at least 1 and at most 256."""
    return min(max(images // 8, 1), 256)


def _config(teacher: Teacher, settings: Settings, arch: str | None) -> dict:
    return {
        "format": 1,
        "arch": arch,
        "num_classes": teacher.num_classes,
        "input_spec": teacher.input_spec.to_dict(),
        "scheme": settings.make_scheme().to_dict(),
        "settings": settings.to_dict(),
    }


def _images(
    teacher: Teacher, settings: Settings, run: RunFolder, budget: Budget, progress: Progress
) -> tuple[Batch, list[str]]:
    """New images, or those of a run that is resumed."""
    if run.images.exists():
        note = "images: taken over from the run that was resumed"
        progress.note(note)
        return run.load_images(teacher.input_spec, teacher.device), [note]
    batch, notes = synthesize(teacher, settings, budget=budget.part(SYNTHESIS_SHARE), progress=progress)
    run.save_images(batch, teacher.input_spec)
    return batch, notes


def _train(
    teacher: Teacher,
    student: fx.GraphModule,
    settings: Settings,
    images: Batch,
    held_out: Batch,
    run: RunFolder,
    budget: Budget,
    progress: Progress,
) -> History | None:
    objective, training = settings.chosen_method.objective, settings.training(teacher.input_spec)
    if objective is None or training.steps == 0:
        return None
    trainer = Trainer(
        teacher, student, objective, training,
        budget=budget.keeping(RESERVE_SECONDS, LEAST_TRAINING_SHARE), progress=progress, checkpoint=run.training,
    )  # fmt: skip
    return trainer.fit(images, held_out)


def _doubts(agreement: dict) -> list[str]:
    """Warnings about a file that does not do what the student did."""
    measured = {k: v for k, v in agreement["agreement"]["onnx_student"].items() if v is not None}
    return [
        f"the ONNX file agrees with the student on only {value:.1%} of the {kind} images (expected ≥ 99.8 %)"
        for kind, value in measured.items()
        if value < LEAST_AGREEMENT
    ]
