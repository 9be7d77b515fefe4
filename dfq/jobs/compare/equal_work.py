"""Equal work: what the runs of a comparison do alike where the user leaves it open, and where they did not.

Without a budget, all methods that train get equal numbers of images and steps. Within a budget, they get equal time:
training goes on until the clock ends it, so that no method stops early because its steps are quick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dfq.calibration import METHODS
from dfq.images.input_spec import InputSpec, is_large
from dfq.jobs.distill import DistillSettings
from dfq.jobs.quantize.auto_method import resolve
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.settings import LimitSettings
from dfq.results.number_format import seconds


@dataclass(frozen=True, kw_only=True)
class EqualWorkSettings:
    """What counts as equal work.

    Attributes:
        open_steps: Number of steps that no budget is long enough for.
        most_apart: Largest time of a run that used its budget, as a multiple of the smallest one, that passes as equal.
    """

    open_steps: int = LimitSettings().most
    most_apart: float = 1.15


EQUAL_WORK_SETTINGS = EqualWorkSettings()


def with_equal_work(settings: Settings | DistillSettings, spec: InputSpec) -> Settings | DistillSettings:
    """Returns the settings of a run with the images and steps that all methods that train have in common.

    Numbers that the user gave stay. So does everything of a method that trains nothing, and of one that learns block by
    block and does not train for images of that size.

    Args:
        settings: The settings of one run.
        spec: Size and normalisation of the images.
    """
    resolved = settings if isinstance(settings, DistillSettings) else resolve(settings)[0]
    row, is_quantized = resolved.chosen_method, isinstance(settings, Settings)
    if row.objective is None and (is_quantized or row.distillation is None):
        return settings
    if settings.budget is None:
        images = max(row.images_large for row in METHODS.values() if row.objective is not None)
        opens = is_quantized and is_large(spec.size) and settings.images is None and row.images is None
        return replace(settings, images=images) if opens else settings
    trains = not (is_quantized and is_large(spec.size) and row.steps_large == 0)
    return replace(settings, steps=EQUAL_WORK_SETTINGS.open_steps) if trains and settings.steps is None else settings


def work_of(report: Mapping) -> dict[str, int | bool]:
    """Returns what a run did, from its `report.json`.

    - `images` is the number of its synthetic images, the held-out ones included.
    - `steps` is the number of training steps, also of a training that was undone in the end.
    - `block_steps` is the number of steps of reconstruction, over all blocks.
    - `uses_budget` says whether the clock ended its learning. Runs that end earlier, such as those of `instant`, and
      runs without a budget do not.
    """
    undone = (report.get("fallback") or {}).get("undone") or {}
    training = report["training"] or undone.get("training")
    reconstruction = report.get("reconstruction") or undone.get("reconstruction")
    steps = training["steps"] if training else 0
    block_steps = sum(block["iterations"] for block in reconstruction["blocks"]) if reconstruction else 0
    asked = report["settings"]["steps"]
    is_cut = (asked is not None and steps < asked) if training else block_steps > 0
    is_limited = report.get("budget") is not None
    return {
        "images": report["settings"]["images"],
        "steps": steps,
        "block_steps": block_steps,
        "uses_budget": is_limited and is_cut,
    }


def unequal_time(rows: Sequence[dict], titles: Sequence[str]) -> str | None:
    """Returns a sentence where runs that use their budget took unequal times; None where they did not.

    Args:
        rows: The rows of all cells.
        titles: The title of each row.
    """
    took = {title: row["seconds"] for row, title in zip(rows, titles, strict=True) if row["uses_budget"]}
    if not took:
        return None
    longest, shortest = max(took, key=took.__getitem__), min(took, key=took.__getitem__)
    if took[longest] <= EQUAL_WORK_SETTINGS.most_apart * took[shortest]:
        return None
    return (
        f"Unequal time: of the runs that use their whole budget, {longest} took {seconds(took[longest])} and "
        f"{shortest} {seconds(took[shortest])}, so their figures do not compare equal work."
    )
