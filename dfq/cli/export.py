"""`dfq export` writes the student of a run as ONNX once more."""

from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.command import command
from dfq.cli.option_types import PATH, Named
from dfq.cli.output import Output
from dfq.jobs.export import export_run
from dfq.quantizers.targets import TARGETS
from dfq.results.number_format import size


@command
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, metavar="FILE", required=True, help="ONNX file to write.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N", help="Images that the file takes at once.  [default: any]"
)
@click.option("--overwrite", is_flag=True, help="Replace --out if it exists.  [default: off]")
@click.option(
    "--target", type=Named("target", TARGETS, "see --help"), metavar="NAME",
    help=f"Runtime that the file is for: {', '.join(TARGETS)}.  [default: the run's own]",
)  # fmt: skip
@options.arch_option
def export(
    output: Output, run: Path, out: Path, batch_size: int | None, overwrite: bool, target: str | None, arch: str | None
) -> None:
    """Write the student of RUN, a folder of `dfq quantize`, as an ONNX file.

    \b
    Examples:
      dfq export run/ --out model.onnx
      dfq export run/ --out camera.onnx --batch-size 1
      dfq export run/ --out model.onnx --target openvino
      dfq export run/ --out model.onnx --arch net.py:make_net    the run's network is a file of yours
    """
    with output.progress.task("Exporting ONNX", 1) as task:
        export_run(run, out=out, batch_size=batch_size, target=target, arch=arch, overwrite=overwrite)
        task.advance()
    size_bytes = out.stat().st_size
    output.write({"file": str(out), "size_bytes": size_bytes})
    console.fact("File", f"{out}, {size(size_bytes)}")
