"""The main job: teacher in, proved low-bit ONNX file and report out. Reads like the picture in the README."""

from dataclasses import dataclass
from pathlib import Path

from torch import fx

from dfq import pictures, report
from dfq.auto import reconsider, resolve
from dfq.batch import Batch
from dfq.budget import Budget
from dfq.clock import Clock
from dfq.convert import quantize
from dfq.coverage import measure_coverage
from dfq.diversity import measure_diversity
from dfq.diversity_picture import diversity_plot
from dfq.estimate import measure_evidence, predicted_drop
from dfq.export import compare_float_file, doubts_about_processor, export_float_onnx, export_onnx, validate
from dfq.labelled import Labelled
from dfq.mixed_precision.run import choose_for_run, find_target
from dfq.precision import exact_float32
from dfq.progress import Progress, Silent
from dfq.report_page import write_report_page
from dfq.run_folder import FORMAT, RunFolder, write_json
from dfq.run_images import find_images
from dfq.settings import Settings
from dfq.teacher import Teacher
from dfq.train import History
from dfq.tune import Tuned, tune
from dfq.verdict import check_strict, verdict

CHOOSING_SHARE = 0.2  # of what synthesis left of the budget, for mixed precision


@dataclass(frozen=True)
class Result:
    """What a run gives back: the tuned student, its teacher, the folder, and the content of `report.json`."""

    student: fx.GraphModule
    teacher: Teacher
    folder: Path
    report: dict
    history: History | None


@exact_float32()
def quantize_model(
    teacher: Teacher,
    out: str | Path,
    settings: Settings,
    *,
    arch: str | None = None,
    assumed: tuple[str, ...] = (),
    labelled: Labelled | None = None,
    batch: Batch | None = None,
    strict: bool = False,
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
        strict: refuse, before any work, a network of which too little is on integers (`dfq.verdict.check_strict`).
        resume: go on with a killed run of the same settings.
        overwrite: replace the results of an earlier run.

    Raises:
        DfqError: see the stages.
    """
    progress, clock, budget, run = progress or Silent(), Clock(), Budget(settings.budget), RunFolder(out)
    settings, reason = resolve(teacher, settings)
    if reason:
        progress.note(reason)
    scheme, target = settings.make_scheme(), find_target(teacher, settings, progress)
    student = quantize(teacher, scheme)
    coverage = measure_coverage(student).to_dict()
    if strict:
        check_strict(coverage)
    for sentence in verdict(coverage):
        progress.note(sentence.text)
    spec = teacher.input_spec
    run.prepare(_config(teacher, settings, arch), resume=resume, overwrite=overwrite)

    with clock.stage("synthesis"):
        images = find_images(teacher, settings, batch, run, budget, progress)
    settings, said = reconsider(teacher, settings, reason, images.count)
    if said is not None and said != reason:
        progress.note(said)
    choice = None
    if target is not None:
        with clock.stage("widths"):
            share = budget.part(CHOOSING_SHARE)
            choice = choose_for_run(teacher, settings, target, images.training, run, share, progress)
            scheme = choice.applied_to(scheme)
            student = quantize(teacher, scheme)
    with clock.stage("training"):
        falls_back = reason is not None  # `auto` chose
        tuned = tune(student, teacher, settings, scheme, images, run, budget, progress, falls_back=falls_back)
    student = tuned.student
    clock.move("training", "synthesis", tuned.source.seconds)
    made_here, batch = run.images.exists(), tuned.source.images_at_the_end().joined(images.held_out)
    if made_here:  # images that were handed in are not ours to store
        run.save_images(batch, spec)
    diversity = measure_diversity(teacher, batch)
    pictures.contact_sheet(batch, spec, run.samples)
    diversity_plot(diversity, run.diversity)
    with clock.stage("export"), progress.task("Exporting ONNX", 2) as task:
        export_onnx(student, run.onnx, spec, target=settings.target)
        task.advance()
        export_float_onnx(teacher.model, run.float_onnx, spec)
        task.advance()
    with clock.stage("validation"):
        held_out = images.held_out.images
        evidence = tuned.evidence or measure_evidence(student, teacher, held_out, seed=settings.seed)
        agreement = validate(
            run.onnx,
            student,
            held_out,
            teacher=teacher,
            float_path=run.float_onnx,
            labelled=labelled,
            progress=progress,
        ).to_dict()
        float_file = compare_float_file(run.float_onnx, teacher, images.held_out.images)

    warnings = [
        *(f"assumed {sentence}" for sentence in assumed),
        *images.notes,
        *tuned.notes,
        *(tuned.history.notes if tuned.history else []),
        *(choice.doubts(agreement["size_bytes"]["onnx"]) if choice else []),
        *_doubts(agreement),
        *doubts_about_processor(),
    ]
    content = {
        "verdict": [sentence.text for sentence in verdict(coverage, float_file)],
        "coverage": coverage,
        "float_file": float_file,
        "arch": arch,
        "input_spec": spec.to_dict(),
        **agreement,
        "evidence": {**evidence.to_dict(), "predicted_drop": predicted_drop(evidence, diversity.batch_norm_deviation)},
        "seconds": clock.to_dict(),
        "settings": {**settings.to_dict(), "method": tuned.method, "scheme": scheme.to_dict(), "images": len(batch)},
        "diversity": diversity.to_dict(),
        "training": tuned.history.to_dict() if tuned.history else None,
        **tuned.sections,
        "choice": _last_choice(said, settings, tuned),
        "mixed_precision": choice.to_dict() if choice else None,
        "layers": report.layers(student),
        "seed": settings.seed,
        "versions": report.versions(),
        "hardware": report.hardware(teacher.device),
        "warnings": warnings,
    }
    if tuned.history:
        pictures.learning_curve(tuned.history.records, run.curve, tuned.history.chosen_step)
    write_json(run.report, content)
    write_report_page(content, run)
    run.remove_scratch()
    return Result(student, teacher, run.path, content, tuned.history)


def _last_choice(said: str | None, settings: Settings, tuned: Tuned) -> str | None:
    """What `auto` chose, with what it took in the end; None where a person chose."""
    return said if tuned.method == settings.chosen_method.name else f"{said}; {tuned.method}'s student ended better"


def _config(teacher: Teacher, settings: Settings, arch: str | None) -> dict:
    return {
        "format": FORMAT,
        "arch": arch,
        "num_classes": teacher.num_classes,
        "input_spec": teacher.input_spec.to_dict(),
        "scheme": settings.make_scheme().to_dict(),
        "settings": settings.to_dict(),
    }


def _doubts(agreement: dict) -> list[str]:
    """Warnings about a file that does not do what the student did."""
    of_file, of_itself = (agreement["agreement"][pair] for pair in ("onnx_student", "student_float64"))
    return [
        f"the ONNX file agrees with the student on only {of_file[kind]:.1%} of the {kind} images (expected ≥ 99.8 %); "
        f"the student in float64 agrees with itself on {value:.1%}: what rounding ties alone do in this network"
        for kind, value in of_itself.items()
        if value is not None
    ]
