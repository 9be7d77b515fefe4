"""`dfq validate`: does the ONNX file of a run do what its student does?"""

from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from dfq.cli import console, options, run_summary
from dfq.cli.engine_table import show_engines
from dfq.cli.option_types import Named
from dfq.errors import DfqError
from dfq.export import ENGINES
from dfq.export import validate as compare
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.validation.performance import measure_performance
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import read_labelled
from dfq.jobs.quantize.synthesis import held_out_count
from dfq.results.load_run import load_run
from dfq.results.page_sections import FLOAT, QUANTIZED, performance_sections
from dfq.results.report_page import write_report_page
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json, write_json
from dfq.system.output_paths import check_file
from dfq.system.terminal_progress import TerminalProgress


class _RuntimeNetwork(nn.Module):
    """The run's float ONNX file as a network."""

    def __init__(self, path: Path, threads: int):
        super().__init__()
        self.engine = Engine(path, threads)
        self.device_marker = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.engine.run(images))


@dataclass(frozen=True)
class _RuntimeTeacher:
    """What stands for the teacher: a run folder keeps no checkpoint of it, and an ONNX file cannot be captured."""

    model: _RuntimeNetwork
    input_spec: InputSpec


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@options.data_option
@click.option(
    "--onnx", type=click.Path(path_type=Path), metavar="FILE", help="File to check.  [default: RUN/model.onnx]"
)
@click.option(
    "--engine", "engines", type=Named("engine", ENGINES, "see --help"), multiple=True, metavar="NAME",
    help=f"An engine to run the file in, beside ONNX Runtime; repeatable: {', '.join(ENGINES)}.  [default: all]",
)  # fmt: skip
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Write every figure to this file, too.  [default: none]",
)  # fmt: skip
@click.option(
    "--performance", "performance", is_flag=True,
    help="Measure speed at batch 1 and 32 on 1 and 2 threads, memory, and time per operator of both files, each in a "
    "process of its own, into RUN/performance.json and RUN/report.html.  [default: off]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace --json if it exists.  [default: off]")
@options.arch_option
@options.threads_option
def validate(
    run: Path, data: Path | None, onnx: Path | None, engines: tuple[str, ...], json_file: Path | None,
    performance: bool, overwrite: bool, arch: str | None, threads: int | None,
) -> None:  # fmt: skip
    """Compare the ONNX file of RUN, a folder of `dfq quantize`, with its student and its teacher.

    On the synthetic images that training did not see, and on labelled ones if given. Every engine that is installed
    gives its opinion on the file; the others are listed with the reason.

    \b
    Examples:
      dfq validate run/
      dfq validate run/ --data test.npz --threads 2
      dfq validate run/ --engine openvino --json opinions.json
      dfq validate run/ --onnx camera.onnx
      dfq validate run/ --performance            speed, memory, where the time goes
    """
    options.set_threads(threads)
    if json_file is not None:
        check_file(json_file, overwrite=overwrite)
    folder = RunFolder(run)
    config, path = read_json(folder.config), onnx or folder.onnx
    spec, used = InputSpec.from_dict(config["input_spec"]), torch.get_num_threads()
    labelled = read_labelled(data, spec, config["num_classes"]) if data else None
    student = load_run(run, arch=arch)
    batch = folder.load_images(spec, torch.device("cpu"))
    _, held_out = batch.split(held_out_count(len(batch)))
    if not folder.float_onnx.is_file():
        raise DfqError(f"no '{folder.float_onnx}'", "the float twin that `dfq quantize` wrote", "repeat the run")
    teacher = _RuntimeTeacher(_RuntimeNetwork(folder.float_onnx, used), spec)
    found = compare(
        path, student, held_out.images, teacher=teacher, float_path=folder.float_onnx, labelled=labelled,
        engines=engines or tuple(ENGINES), threads=used, progress=TerminalProgress(),
    ).to_dict()  # fmt: skip
    console.stdout.print(run_summary.agreement_table(found, f"{path}, on {len(held_out)} synthetic images"))
    error = found["error_steps"]
    console.fact(
        "Error", f"largest {error['max']:.2g}, mean {error['mean']:.2g} steps of an 8-bit grid over the logits"
    )
    run_summary.show_nodes(found["nodes"])
    show_engines(found["engines"])
    if json_file is not None:
        write_json(json_file, found)
    if performance:
        _measure_performance(folder, path)


def _measure_performance(folder: RunFolder, path: Path) -> None:
    files = {FLOAT: folder.float_onnx, QUANTIZED: path}
    found = measure_performance(files, progress=TerminalProgress())
    write_json(folder.performance, found)
    write_report_page(read_json(folder.report), folder)
    for section in performance_sections(found):
        console.stdout.print(console.table(section.name, section.head, section.rows))
