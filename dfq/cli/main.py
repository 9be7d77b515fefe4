"""The group `dfq`, and what happens to an error that nobody caught."""

import json
import os
import sys
import traceback
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click
from click.shell_completion import CompletionItem

from dfq.cli.many import ARGUMENTS, join_the_run, sharing_the_run, shows_errors
from dfq.errors import DfqError, printable
from dfq.system.freed_memory import keep_freed_memory

WANTS_JSON = "dfq.json"  # the key of the context under which the group keeps whether --json was given
INTERRUPTION = (
    "\nInterrupted. Finished files are kept; `dfq quantize`, `dfq distill`, `dfq increment` and `dfq compare` go on "
    "with the same command and --resume."
)
INTERRUPTED = 130  # The exit code that shells expect after Ctrl-C.
NO_MEMORY = "can't allocate memory"  # torch's message for the CPU
REPORT_IT = "please report it, with what `dfq env` prints and the traceback that DFQ_DEBUG=1 shows"
OUT_OF_MEMORY = DfqError(
    "the memory of this machine has run out",
    "more memory, or less work at a time",
    "fewer --images, a smaller --input-size, or a machine with more memory",
    exit_code=1,
)

# Maps a command to what `dfq --help` says about it. A command is the function of its name in the module of its name.
COMMANDS = {
    "quantize": "The main job: checkpoint in, proved ONNX file out.",
    "distill": "A student of another architecture, without data.",
    "increment": "New classes, from images of these alone.",
    "compare": "Methods side by side: same teacher, settings, budget.",
    "inspect": "Layers, and to how many bits each would go.",
    "synthesize": "Only the synthetic images.",
    "export": "A run's student as ONNX, once more.",
    "validate": "Compare a run's ONNX file with its student.",
    "methods": "What --method takes.",
    "demo": "The whole job on handwritten digits, in a minute.",
    "env": "Versions and hardware, for a bug report.",
}


class ReportingGroup(click.Group):
    """A group whose commands are imported when they are called, and which end in one clear message, not a traceback.

    So `dfq --help`, `dfq --version` and completion answer without loading torch.

    The exit code is 0 for success, 1 for a failure at work (disk, unsupported operator, a bug), 2 for wrong usage or
    bad input, 3 for a file that does not do what its student does, and 130 for Ctrl-C.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        ctx.meta[WANTS_JSON] = "--json" in args  # An error may come before the command has read its options.
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return getattr(import_module(f"dfq.cli.{cmd_name}"), cmd_name) if cmd_name in COMMANDS else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        from dfq.cli import console  # Only a command that runs writes anything.

        try:
            with sharing_the_run():
                return super().invoke(ctx)
        except DfqError as error:
            if shows_errors():
                console.show_error(error)
                _tell(ctx, error)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            if shows_errors():
                console.stderr.print(INTERRUPTION, markup=False)
            ctx.exit(INTERRUPTED)
        except click.UsageError as error:
            if not shows_errors():
                ctx.exit(error.exit_code)
            message = printable(error.format_message())
            _tell(ctx, DfqError(message, exit_code=error.exit_code))
            raise click.UsageError(message, error.ctx) from error
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:  # A user should never see a traceback.
            if not shows_errors():
                ctx.exit(1)
            if _is_out_of_memory(error):
                console.show_error(OUT_OF_MEMORY)
                _tell(ctx, OUT_OF_MEMORY)
                ctx.exit(OUT_OF_MEMORY.exit_code)
            _tell(ctx, _show_bug(error))
            ctx.exit(1)


def _is_out_of_memory(error: Exception) -> bool:
    """Returns whether memory has run out, for which torch has errors of its own."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or NO_MEMORY in str(error)


def _tell(ctx: click.Context, error: DfqError) -> None:
    """Writes an error as one JSON object to standard output, if the user asked for `--json`."""
    if ctx.meta[WANTS_JSON]:
        click.echo(json.dumps({"error": error.to_dict()}, indent=2))


def _show_bug(error: Exception) -> DfqError:
    """Shows an error that nobody foresaw, and returns it as one that has parts."""
    from dfq.cli import console

    if os.environ.get("DFQ_DEBUG") == "1":
        traceback.print_exception(error)
    first_line = printable((str(error).splitlines() or [""])[0])
    console.stderr.print(f"Unexpected {type(error).__name__}: {first_line}", style="red", markup=False)
    console.stderr.print(f"This is a bug in dfq: {REPORT_IT}.")
    return DfqError(f"unexpected {type(error).__name__}: {first_line}", "no bug in dfq", REPORT_IT, exit_code=1)


@click.group(cls=ReportingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dfq-toolkit", prog_name="dfq", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Data-free quantization of image classifiers: from a checkpoint, with no data, to a proved low-bit ONNX file.

    \b
    Start here:
      dfq demo                                     the whole job on a small net, in a minute
      dfq inspect model.pt                         what would be quantized, and to what
      dfq quantize model.pt --bits 8 --out run/    the main job
      dfq COMMAND --help                           options and worked examples
    """
    for stream in (sys.stdout, sys.stderr):  # Where a terminal has no sign for a character, it shows a question mark.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    keep_freed_memory()
    if not join_the_run(ctx.invoked_subcommand or ""):
        ctx.exit()
