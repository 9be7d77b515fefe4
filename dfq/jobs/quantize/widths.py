"""Mixed precision within a run: the limit that its settings name, and the choice of widths."""

from dfq.images.batch import Batch
from dfq.jobs.context import JobContext
from dfq.jobs.quantize.settings import Settings
from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.mixed_precision.file_size import FileSize
from dfq.mixed_precision.operation_count import BitOperations
from dfq.mixed_precision.pareto_plot import mixed_precision_plot
from dfq.mixed_precision.search import choose_widths
from dfq.mixed_precision.settings import SensitivitySettings, WidthSearchSettings
from dfq.mixed_precision.width_limit import AverageBits, WidthLimit
from dfq.results.number_format import operations
from dfq.results.run_folder import RunFolder
from dfq.system.exchange import of_first
from dfq.system.progress import Progress
from dfq.teacher import Teacher


def find_width_limit(teacher: Teacher, settings: Settings, progress: Progress) -> WidthLimit | None:
    """Returns the limit of the widths; None where the settings give every width.

    Raises:
        DfqError: The network cannot keep that limit.
    """
    if settings.average_bits is not None:
        return AverageBits(teacher, settings.make_scheme(), settings.average_bits)
    if settings.target_size is not None:
        return FileSize(teacher, settings.make_scheme(), settings.target_size, progress)
    if settings.target_bops is not None:
        return BitOperations(teacher, settings.make_scheme(), settings.target_bops)
    return None


def choose_for_run(context: JobContext[Settings, RunFolder], limit: WidthLimit, batch: Batch) -> ChosenWidths:
    """Returns the widths of this run: those that its `config.json` records, or new ones, which are recorded there.

    So a run that is resumed never chooses again: its training state belongs to the widths that it started with. One
    that was killed while it measured goes on from what was measured. The first process of a run chooses for all.
    """
    return ChosenWidths.from_dict(of_first(lambda: _chosen(context, limit, batch).to_dict()))


def _chosen(context: JobContext[Settings, RunFolder], limit: WidthLimit, batch: Batch) -> ChosenWidths:
    settings, run = context.settings, context.folder
    recorded = run.decided("mixed_precision")
    if recorded is not None:
        return ChosenWidths.from_dict(recorded)
    choice = choose_widths(
        context.teacher, settings.make_scheme(), limit, batch.images,
        WidthSearchSettings(sensitivity=SensitivitySettings(ranges=settings.chosen_ranges)),
        context.stage(checkpoint=run.widths),
    )  # fmt: skip
    mixed_precision_plot(choice, run.mixed_precision)
    run.decide(scheme=choice.applied_to(settings.make_scheme()).to_dict(), mixed_precision=choice.to_dict())
    reached = f", {operations(choice.chosen.cost)} bit operations per image" if choice.unit == "bops" else ""
    context.progress.note(f"mixed precision: {choice.average_bits:.2f} bits per weight on average{reached}")
    return choice
