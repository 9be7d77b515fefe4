"""One cell of a comparison: the row that its folder gives, and its run."""

from dataclasses import replace

from dfq.errors import DfqError
from dfq.jobs.compare.equal_work import with_equal_work
from dfq.jobs.compare.folder import ComparisonFolder
from dfq.jobs.compare.plan import Cell
from dfq.jobs.compare.summary import failed_row, finished_row, waiting_row
from dfq.jobs.context import RunOptions
from dfq.system.progress import Progress
from dfq.system.reading import reading
from dfq.teacher import Teacher


def row_so_far(folder: ComparisonFolder, cell: Cell) -> dict:
    """Returns the row of a cell as its folder has it: finished, or waiting."""
    report = folder.report(cell)
    if report is None:
        return waiting_row(cell)
    with reading(folder.run(cell).report):
        return finished_row(cell, report)


def run_cell(teacher: Teacher, folder: ComparisonFolder, cell: Cell, options: RunOptions, progress: Progress) -> dict:
    """Runs a cell and returns its row.

    Args:
        teacher: The network that all cells share.
        folder: The folder of the comparison.
        cell: The cell.
        options: How the comparison runs. Its callbacks hear of the cell as of a part; with `resume`, the cell goes on
            from what its folder holds.
        progress: Where the comparison tells that the cell failed.
    """
    settings = with_equal_work(cell.settings, teacher.input_spec)
    callbacks = [callback.part(cell.name) for callback in options.callbacks]
    of_cell = replace(options, overwrite=not options.resume, callbacks=callbacks)
    try:
        report = cell.job.run(teacher, folder.run(cell).path, settings, cell.variant, of_cell)
    except DfqError as error:
        again = "; without --resume it starts afresh" if options.resume else ""
        progress.note(f"{cell.title} failed: {error.found}{again}")
        return failed_row(cell, error)
    return finished_row(cell, report)
