"""The main job: teacher in, proved low-bit ONNX file and report out. Reads like the picture in the README."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from torch import fx

from dfq import pictures, report
from dfq.batch import Batch
from dfq.budget import Budget
from dfq.calibrate import calibrate, snap_biases
from dfq.calibration import Synthesizer
from dfq.clock import Clock
from dfq.convert import quantize
from dfq.diversity import measure_diversity
from dfq.diversity_picture import diversity_plot
from dfq.estimate import measure_evidence
from dfq.export import export_float_onnx, export_onnx, validate
from dfq.image_source import ImageSource
from dfq.input_spec import InputSpec
from dfq.labelled import Labelled
from dfq.mixed_precision.run import choose_for_run, find_target
from dfq.progress import Progress, Silent
from dfq.run_folder import RunFolder, write_json
from dfq.scheme import Scheme
from dfq.settings import Settings
from dfq.teacher import Teacher
from dfq.train import History, Trainer

SYNTHESIS_SHARE, CHOOSING_SHARE = 0.4, 0.2  # of the budget; of what synthesis left
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
    progress, clock, budget, run = progress or Silent(), Clock(), Budget(settings.budget), RunFolder(out)
    scheme, target = settings.make_scheme(), find_target(teacher, settings, progress)
    student = quantize(teacher, scheme)
    spec = teacher.input_spec
    run.prepare(_config(teacher, settings, arch), resume=resume, overwrite=overwrite)

    with clock.stage("synthesis"):
        synthesizer = settings.make_synthesizer(teacher, budget.part(SYNTHESIS_SHARE), progress)
        batch, notes = (batch, []) if batch else _images(teacher, settings, synthesizer, run, progress)
        planned = _planned(settings, spec, len(batch))
        training, held_out = batch.split(held_out_count(planned))
    choice = None
    if target is not None:
        with clock.stage("widths"):
            share = budget.part(CHOOSING_SHARE)
            choice = choose_for_run(teacher, settings, target, training, run, share, progress)
            scheme = choice.applied_to(scheme)
            student = quantize(teacher, scheme)
    with clock.stage("training"):
        calibrate(student, training.images[:256], ranges=settings.chosen_ranges, seed=settings.seed, progress=progress)
        limit = budget.keeping(RESERVE_SECONDS, LEAST_TRAINING_SHARE)
        source = settings.chosen_method.source(
            teacher, training, synthesizer, planned - len(held_out), paired=settings.chosen_method.paired, budget=limit
        )
        history = _train(teacher, student, settings, scheme, source, held_out, run, limit, progress)
        snap_biases(student.eval())
        run.save_student(student)
    clock.move("training", "synthesis", source.seconds)
    made_here, batch = run.images.exists(), source.images_at_the_end().joined(held_out)
    if made_here:  # images that were handed in are not ours to store
        run.save_images(batch, spec)
    diversity = measure_diversity(teacher, batch)
    pictures.contact_sheet(batch, spec, run.samples)
    diversity_plot(diversity, run.diversity)
    with clock.stage("export"), progress.task("Exporting ONNX", 2) as task:
        export_onnx(student, run.onnx, spec)
        task.advance()
        export_float_onnx(teacher.model, run.float_onnx, spec)
        task.advance()
    with clock.stage("validation"):
        evidence = measure_evidence(student, teacher, held_out.images, seed=settings.seed)
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
        *(choice.doubts(agreement["size_bytes"]["onnx"]) if choice else []),
        *_doubts(agreement),
    ]
    content = {
        "arch": arch,
        "input_spec": spec.to_dict(),
        **agreement,
        "evidence": evidence.to_dict(),
        "seconds": clock.to_dict(),
        "settings": {**settings.to_dict(), "scheme": scheme.to_dict(), "images": len(batch)},
        "diversity": diversity.to_dict(),
        "training": history.to_dict() if history else None,
        "mixed_precision": choice.to_dict() if choice else None,
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
    """(images of the method, notes for the report); made without a student."""
    synthesizer = settings.make_synthesizer(teacher, budget, progress)
    batch = synthesizer.sample(settings.image_count(teacher.input_spec))
    if settings.chosen_method.first_share < 1:
        synthesizer.notes.append("made without a student: what the method does against one is left out")
    return batch, synthesizer.notes


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
    teacher: Teacher, settings: Settings, synthesizer: Synthesizer, run: RunFolder, progress: Progress
) -> tuple[Batch, list[str]]:
    """The images that training starts with: new ones, or those of a run that is resumed."""
    if run.images.exists():
        note = "images: taken over from the run that was resumed"
        progress.note(note)
        return run.load_images(teacher.input_spec, teacher.device), [note]
    share = settings.chosen_method.first_share
    batch = synthesizer.sample(max(ceil(settings.image_count(teacher.input_spec) * share), 2))
    run.save_images(batch, teacher.input_spec)
    return batch, synthesizer.notes


def _planned(settings: Settings, input_spec: InputSpec, first: int) -> int:
    """Images in the end: as many as asked for, or what the budget's first part lets expect."""
    return min(settings.image_count(input_spec), ceil(first / settings.chosen_method.first_share))


def _train(
    teacher: Teacher,
    student: fx.GraphModule,
    settings: Settings,
    scheme: Scheme,
    source: ImageSource,
    held_out: Batch,
    run: RunFolder,
    budget: Budget,
    progress: Progress,
) -> History | None:
    objective, training = settings.chosen_method.objective, settings.training(teacher.input_spec, scheme)
    if objective is None or training.steps == 0:
        return None
    trainer = Trainer(teacher, student, objective, training, budget=budget, progress=progress, checkpoint=run.training)
    return trainer.fit(source, held_out)


def _doubts(agreement: dict) -> list[str]:
    """Warnings about a file that does not do what the student did."""
    measured = {k: v for k, v in agreement["agreement"]["onnx_student"].items() if v is not None}
    return [
        f"the ONNX file agrees with the student on only {value:.1%} of the {kind} images (expected ≥ 99.8 %)"
        for kind, value in measured.items()
        if value < LEAST_AGREEMENT
    ]
