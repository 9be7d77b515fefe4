"""`dfq validate` checks whether the ONNX file of a run does what its student does."""

from pathlib import Path

import click
import torch

from dfq.cli import console, options, run_summary
from dfq.cli.command import command
from dfq.cli.engine_table import show_engines
from dfq.cli.option_types import PATH, Named
from dfq.cli.output import Output
from dfq.export import ENGINES, ValidationSettings
from dfq.export.validation.performance import measure_performance
from dfq.jobs.validate import validate_run
from dfq.results.decision import DONT, Decision, decide, mismatch
from dfq.results.page.performance import FLOAT, QUANTIZED, performance_sections
from dfq.results.page.quantize_page import rewrite_report_page
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json, write_json
from dfq.system.atomic_files import remove_leftovers
from dfq.system.progress import Progress
from dfq.system.reading import reading
from dfq.system.run_lock import writing_alone


@command
@click.argument("run", type=PATH)
@options.data_option
@options.pictures_option
@click.option("--onnx", type=PATH, metavar="FILE", help="File to check.  [default: RUN/model.onnx]")
@click.option(
    "--engine", "engines", type=Named("engine", ENGINES, "see --help"), multiple=True, metavar="NAME",
    help=f"Engine to run the file in, besides ONNX Runtime; repeatable: {', '.join(ENGINES)}.  [default: all]",
)  # fmt: skip
@click.option(
    "--performance", "performance", is_flag=True,
    help="Measure speed at batch 1 and 32 on 1 and 2 threads, memory, and time per operator of both files, each in its "
    "own process; write them to RUN/performance.json and RUN/report.html.  [default: off]",
)  # fmt: skip
@options.arch_option
@options.threads_option
def validate(
    output: Output, run: Path, data: Path | None, pictures: Path | None, onnx: Path | None, engines: tuple[str, ...],
    performance: bool, arch: str | None, threads: int | None,
) -> None:  # fmt: skip
    """Compare the ONNX file of RUN, a folder of `dfq quantize`, with its student and its teacher.

    Student and teacher are compared on the synthetic images that training did not see, the file and its student on more
    of them, and all three on real images with --data or --pictures.
    Every engine that is installed runs the file; the others are listed with the reason. The ONNX file that the network
    came from, if it came from one, is one more row.

    \b
    Examples:
      dfq validate run/
      dfq validate run/ --data test.npz --threads 2
      dfq validate run/ --engine openvino --json > opinions.json
      dfq validate run/ --onnx camera.onnx
      dfq validate run/ --performance            speed, memory, time per operator
    """
    options.set_threads(threads)
    folder = RunFolder(run)
    path = onnx or folder.onnx
    settings = ValidationSettings(engines=engines or tuple(ENGINES), threads=torch.get_num_threads())
    found = validate_run(
        run, data=data, pictures=pictures, onnx=path, settings=settings, arch=arch, progress=output.progress
    ).to_dict()
    wrong, decision = mismatch(found), _decision(folder, found)
    if decision is not None:
        run_summary.show_decision(decision)
    elif wrong:
        console.headline(f"{DONT}: {wrong}.", run_summary.STYLES[DONT])
    console.stdout.print(run_summary.agreement_table(found, str(path)))
    run_summary.show_compared(found)
    error = found["error_steps"]
    console.fact(
        "Error", f"largest {error['max']:.2g}, mean {error['mean']:.2g} steps of an 8-bit grid over the output"
    )
    run_summary.show_nodes(found["nodes"])
    show_engines(found["engines"])
    measured = _measure_performance(folder, path, output.progress) if performance else None
    output.write({"folder": str(run), "file": str(path), **found, "performance": measured})
    if wrong:
        click.get_current_context().exit(run_summary.MISMATCH)


def _decision(folder: RunFolder, found: dict) -> Decision | None:
    """Returns the decision on what was measured now; None where the run's report knows more.

    Raises:
        DfqError: The report is damaged.
    """
    if not folder.report.exists():
        return None
    report = read_json(folder.report)
    with reading(folder.report):
        if report["accuracy"]["onnx"] is not None and found["accuracy"]["onnx"] is None:
            return None
        return decide({**report, **found}, folder.path)


def _measure_performance(folder: RunFolder, path: Path, progress: Progress) -> dict:
    files = {FLOAT: folder.float_onnx, QUANTIZED: path}
    with writing_alone(folder.path):
        found = measure_performance(files, progress=progress)
        remove_leftovers([folder.performance, folder.page])
        write_json(folder.performance, found)
        rewrite_report_page(folder)
    for section in performance_sections(found):
        assert section.table is not None
        console.stdout.print(console.table(section.name, section.table.head, section.table.rows))
    return found
