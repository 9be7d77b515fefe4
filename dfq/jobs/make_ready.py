"""`make_ready`: how a run takes hold of its folder, or finds that it has finished there."""

from dfq.jobs.context import RunOptions
from dfq.jobs.finishing import check_feasible
from dfq.jobs.kept_clock import goes_on
from dfq.results.run_folder import RunFolder
from dfq.system.budget import Budget


def make_ready(run: RunFolder, config: dict, options: RunOptions, budget: Budget, to_finish: float) -> bool:
    """Makes the folder ready, unless it holds this run and the run has finished; returns whether that is so.

    Args:
        run: The run folder.
        config: What a run that goes on must have in common with this one.
        options: How the job runs.
        budget: The budget of the run.
        to_finish: Seconds of it that are kept for the end of the run.

    Raises:
        DfqError: The folder cannot be used, or the budget is too short.
    """
    is_finished = options.resume and run.is_finished
    if not (options.is_late or goes_on(run, options)):
        check_feasible(budget, to_finish)
    run.prepare(config, resume=options.resume, overwrite=options.overwrite)
    return is_finished
