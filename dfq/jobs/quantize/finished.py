"""A run that had finished before it was resumed: nothing is done again."""

from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.result import Result
from dfq.results.load_run import stored_student
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json
from dfq.teacher import Teacher
from dfq.training.trainer import History


def take_over(teacher: Teacher, run: RunFolder, options: RunOptions) -> Result:
    """Returns the result of a finished run, as its folder holds it, and says so.

    Raises:
        DfqError: A file of the folder is damaged.
    """
    content = read_json(run.report)
    options.progress.note("this run had finished, so it is taken over as it is")
    if options.labelled is not None and content["accuracy"]["teacher"] is None:
        options.progress.note("its accuracy was not measured: dfq validate with --data measures it")
    student = stored_student(teacher, run, read_json(run.config))
    training = content["training"]
    return Result(student, teacher, run.path, content, History(**training) if training else None)
