"""`dfq export`: a run's student as ONNX, once more."""

from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.format import size
from dfq.export import export_onnx
from dfq.input_spec import InputSpec
from dfq.output import check_file, make_folder
from dfq.run_folder import RunFolder, load_run, read_json


@click.command(short_help="A run's student as ONNX, once more.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="ONNX file to write.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N", help="Images per run of the file.  [default: any]"
)
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.  [default: off]")
@options.arch_option
def export(run: Path, out: Path, batch_size: int | None, overwrite: bool, arch: str | None) -> None:
    """Write the student of RUN, a folder of `dfq quantize`, as an ONNX file.

    \b
    Examples:
      dfq export run/ --out model.onnx
      dfq export run/ --out camera.onnx --batch-size 1
      dfq export run/ --out model.onnx --arch net.py:make_net    the run's network is a file of yours
    """
    check_file(out, overwrite=overwrite)
    student = load_run(run, arch=arch)
    input_spec = InputSpec.from_dict(read_json(RunFolder(run).config)["input_spec"])
    make_folder(out.parent)
    with console.TerminalProgress().task("Exporting ONNX", 1) as task:
        export_onnx(student, out, input_spec, batch_size=batch_size)
        task.advance()
    console.fact("File", f"{out}, {size(out.stat().st_size)}")
