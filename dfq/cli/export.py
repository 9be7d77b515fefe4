"""`dfq export`: a run's student as ONNX, once more."""

from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.option_types import Named
from dfq.export import export_onnx
from dfq.images.input_spec import InputSpec
from dfq.quantizers.targets import DEFAULT_TARGET, TARGETS
from dfq.results.load_run import load_run
from dfq.results.number_format import size
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json
from dfq.system.output_paths import check_file, make_folder
from dfq.system.terminal_progress import TerminalProgress


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="ONNX file to write.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N", help="Images per run of the file.  [default: any]"
)
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.  [default: off]")
@click.option(
    "--target", type=Named("target", TARGETS, "see --help"), metavar="NAME",
    help=f"Runtime that the file is for: {', '.join(TARGETS)}.  [default: the run's own]",
)  # fmt: skip
@options.arch_option
def export(run: Path, out: Path, batch_size: int | None, overwrite: bool, target: str | None, arch: str | None) -> None:
    """Write the student of RUN, a folder of `dfq quantize`, as an ONNX file.

    \b
    Examples:
      dfq export run/ --out model.onnx
      dfq export run/ --out camera.onnx --batch-size 1
      dfq export run/ --out model.onnx --target openvino
      dfq export run/ --out model.onnx --arch net.py:make_net    the run's network is a file of yours
    """
    check_file(out, overwrite=overwrite)
    student = load_run(run, arch=arch)
    config = read_json(RunFolder(run).config)
    input_spec, own = InputSpec.from_dict(config["input_spec"]), config["scheme"].get("target", DEFAULT_TARGET)
    make_folder(out.parent)
    with TerminalProgress().task("Exporting ONNX", 1) as task:
        export_onnx(student, out, input_spec, batch_size=batch_size, target=target or own)
        task.advance()
    console.fact("File", f"{out}, {size(out.stat().st_size)}")
