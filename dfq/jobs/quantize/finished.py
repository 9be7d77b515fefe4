"""A run that had finished before it was resumed: nothing is done again."""

from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.result import Result
from dfq.results.load_run import stored_student
from dfq.results.run_config import read_run_config
from dfq.results.run_folder import FORMAT, RunFolder
from dfq.results.stored_files import read_json
from dfq.system.exchange import of_first
from dfq.system.processes import is_first
from dfq.system.reading import reading
from dfq.teacher import Teacher
from dfq.training.trainer import History


def take_over(teacher: Teacher, run: RunFolder, options: RunOptions) -> Result:
    """Returns the result of a finished run, as its folder holds it, and says so.

    Where several processes share a run, the first one reads the folder, and all of them get the result.

    Raises:
        DfqError: A file of the folder is damaged.
    """
    content = of_first(lambda: read_json(run.report))
    if is_first():
        run.remove_scratch()  # It may have been killed just before.
    options.progress.note("this run had finished, so it is taken over as it is")
    with reading(run.report):
        is_unmeasured = content["accuracy"]["teacher"] is None
    if options.labelled is not None and is_unmeasured:
        options.progress.note("its accuracy was not measured: dfq validate with --data measures it")
    student = stored_student(teacher, run, of_first(lambda: read_run_config(run.config, FORMAT)))
    with reading(run.report):
        history = History(**content["training"]) if content["training"] else None
    return Result(student, teacher, run.path, content, history)
