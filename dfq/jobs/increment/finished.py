"""An increment that had finished, or nearly so, before it was resumed."""

from pathlib import Path

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.images.labelled import Labelled
from dfq.jobs.increment.result import Incremented
from dfq.jobs.increment.settings import IncrementSettings
from dfq.results.stored_files import read_json
from dfq.system.content_hash import digest, digest_of
from dfq.system.output_paths import check_file
from dfq.system.progress import Progress
from dfq.teacher import Teacher


def check_out(file: Path, *, resume: bool, overwrite: bool) -> None:
    """Raises `DfqError` where the checkpoint cannot be written; one that exists may be that of the resumed run."""
    check_file(file, overwrite=overwrite or resume)


def conditions_of(teacher: Teacher, new_images: Labelled, settings: IncrementSettings) -> dict:
    """Returns what a run that goes on must have in common with the killed one, as plain values."""
    return {
        "network": digest_of(teacher.model),
        "images": digest({"images": new_images.images, "labels": new_images.labels}),
        "settings": dict(vars(settings)),
    }


def take_over(file: Path, teacher: Teacher, conditions: dict, progress: Progress) -> Incremented:
    """Returns the result of a finished run, as it lies beside its report, and says so.

    Raises:
        DfqError: The checkpoint does not come from a run under these conditions, or a file is damaged.
    """
    path = file.with_suffix(".json")
    content = read_json(path) if path.exists() else {}
    found = {**(content.get("conditions") or {}), "settings": content.get("settings")}
    changed = [name for name, value in conditions.items() if found.get(name) != value]
    if changed:
        raise DfqError(
            f"'{file}' exists, and comes from a run with other {', '.join(changed)}",
            "a new name, so that nothing is lost",
            "choose another with --out, or replace it with --overwrite and without --resume",
        )
    progress.note("this run had finished, so it is taken over as it is")
    model = load_checkpoint(file, arch=teacher.arch).model
    return Incremented(model.eval().requires_grad_(False), content)
