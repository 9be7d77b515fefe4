"""The group `dfq`, and what happens to an error that nobody caught."""

import os
import traceback
from typing import Any

import click

from dfq.cli import console
from dfq.cli.compare import compare
from dfq.cli.demo import demo
from dfq.cli.distill import distill
from dfq.cli.export import export
from dfq.cli.increment import increment
from dfq.cli.inspect import inspect
from dfq.cli.methods import methods
from dfq.cli.quantize import quantize
from dfq.cli.synthesize import synthesize
from dfq.cli.validate import validate
from dfq.errors import DfqError
from dfq.system.freed_memory import keep_freed_memory

INTERRUPTED = 130  # what shells expect after Ctrl-C


class ReportingGroup(click.Group):
    """A group whose commands end in one clear message, never in a traceback.

    Exit codes: 0 success; 1 failure at work (disk, unsupported operator, a bug); 2 wrong usage or bad input;
    130 Ctrl-C.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DfqError as error:
            console.show_error(error)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            console.stderr.print(
                "\nInterrupted. Finished files are kept; `dfq quantize` and `dfq distill` go on with --resume, "
                "`dfq compare` with the same command.",
                markup=False,
            )
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:  # the last line of defence: a person should never meet a traceback
            _show_bug(error)
            ctx.exit(1)


def _show_bug(error: Exception) -> None:
    if os.environ.get("DFQ_DEBUG") == "1":
        traceback.print_exception(error)
    first_line = (str(error).splitlines() or [""])[0]
    console.stderr.print(f"Unexpected {type(error).__name__}: {first_line}", style="red", markup=False)
    console.stderr.print("This is a bug in dfq: please report it, with the traceback that DFQ_DEBUG=1 shows.")


@click.group(cls=ReportingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dfq", prog_name="dfq", message="%(prog)s %(version)s")
def main() -> None:
    """Data-free quantization of image classifiers: from a checkpoint, with no data, to a proved low-bit ONNX file.

    \b
    Start here:
      dfq demo                                     the whole job on a small net, in a minute
      dfq inspect model.pt                         what would be quantized, and to what
      dfq quantize model.pt --bits 8 --out run/    the main job
      dfq COMMAND --help                           options and worked examples
    """
    keep_freed_memory()


for command in (quantize, distill, increment, compare, inspect, synthesize, export, validate, methods, demo):
    main.add_command(command)
