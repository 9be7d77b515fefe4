"""`Command`: what all commands have in common, `--json`, `--quiet` and a `--help` in sections."""

from typing import Any

import click

from dfq.cli.help_sections import SECTIONS, example_of, section_of
from dfq.cli.many import ARGUMENTS
from dfq.cli.output import Output
from dfq.system.launch import run_in_processes, was_started_with_others
from dfq.system.processes import is_first

JSON_HELP = "Write the result to standard output as one JSON object, and no text.  [default: off]"
QUIET_HELP = "Show neither progress nor the result in words, only errors.  [default: off]"


class Command(click.Command):
    """A command with `--json` and `--quiet`, whose function has its `Output` as the first argument."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.params += [
            click.Option(["--json"], is_flag=True, help=JSON_HELP),
            click.Option(["--quiet"], is_flag=True, help=QUIET_HELP),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        as_json, is_quiet = ctx.params.pop("json"), ctx.params.pop("quiet")
        devices = ctx.params.pop("devices", None) or 1
        if devices > 1 and not was_started_with_others():
            ctx.exit(run_in_processes(devices, ("-m", "dfq", *ctx.meta[ARGUMENTS])))
        ctx.obj = Output(as_json=as_json and is_first(), is_quiet=is_quiet or not is_first())
        with ctx.obj.words():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        for section in SECTIONS:
            rows = [_row(option, ctx) for option in options if section_of(option) == section]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


def _row(option: click.Option, ctx: click.Context) -> tuple[str, str]:
    """Returns how an option is typed, and what it means, with its default and an example."""
    names, text = option.get_help_record(ctx) or ("", "")
    example = example_of(option)
    return names, f"{text}  [example: {example}]" if example else text


def command(function: Any) -> Command:
    """Makes a `Command` of a function, which is called with its `Output` and its parameters by name."""
    return click.command(cls=Command)(click.pass_obj(function))
