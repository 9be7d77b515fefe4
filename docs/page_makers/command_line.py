"""Reference: the commands, from what `--help` prints."""

import inspect
import re
from collections.abc import Iterator

from click import Command, Context, Option

from dfq.cli import main
from dfq.cli.help_sections import example_of
from dfq.cli.main import COMMANDS
from page_makers import markdown as md

INTRODUCTION = """# Commands

`dfq COMMAND --help` prints what stands here. Every error says what was found, what is needed and what the way out is,
and ends with an [exit code](exit-codes.md). Completion of commands and options is set up as told in
[completion](../how-to/completion.md).

Every command takes `--json`: then standard output gets one JSON object and nothing else. For a run it is the content of
its `report.json` (of `compare.json` for `dfq compare`) with the folder in front. An error is an object, too, with the
key `error`, which holds `found`, `needed`, `way_out` and `exit_code`. Progress and the error in words stay on standard
error. `--quiet` leaves out progress, notes and the result in words.
"""
DEFAULT = re.compile(r"\s*\[default: (.*)\]$", re.DOTALL)


def page() -> str:
    group = Context(main, info_name="dfq")
    rows = [(f"[`dfq {name}`](#dfq-{name})", md.prose(text)) for name, text in COMMANDS.items()]
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            md.table(("command", "what it does"), rows),
            "`dfq --version` prints the version, `dfq --help` the list of commands.",
            *(part for name in COMMANDS for part in _section(name, group)),
        ]
    )


def _section(name: str, group: Context) -> Iterator[str]:
    command = main.get_command(group, name)
    assert command is not None
    context = Context(command, info_name=name, parent=group)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## dfq {name} {{#dfq-{name}}}"
    described, examples = _help(command)
    yield from described
    yield _block("text", f"dfq {name} {usage}")
    yield from (_block("bash", _commented(example)) for example in examples)
    options = [option for option in command.params if isinstance(option, Option) and not option.hidden]
    if options:
        yield md.table(("option", "meaning", "default", "example"), [_row(option, context) for option in options])


def _block(kind: str, text: str) -> str:
    return f"```{kind}\n{text}\n```"


def _help(command: Command) -> tuple[list[str], list[str]]:
    """(paragraphs, what click prints as it stands: the examples)."""
    paragraphs, examples = [], []
    for text in inspect.cleandoc(command.help or "").split("\n\n"):
        first, _, rest = text.partition("\n")
        if first.strip() == "\b":
            examples.append(inspect.cleandoc(rest.partition("\n")[2]))
        else:
            paragraphs.append(md.prose(" ".join(text.split())))
    return paragraphs, examples


def _commented(example: str) -> str:
    """What help says behind a command becomes a comment, so that the line can be copied."""
    return re.sub(r"^(dfq .*?\S) {2,}(?=\S)", r"\1  # ", example, flags=re.MULTILINE)


def _row(option: Option, context: Context) -> tuple[str, ...]:
    text = option.help or ""
    said = DEFAULT.search(text)
    metavar = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    names = ", ".join(md.code(f"{name}{metavar}") for name in option.opts)
    names += "".join(f" / {md.code(name)}" for name in option.secondary_opts)
    more = " May be repeated." if option.multiple and "repeatable" not in text else ""
    default = md.prose(said.group(1)) if said else _default(option)
    example = example_of(option)
    return names, md.prose(DEFAULT.sub("", text)) + more, default, md.code(example) if example else ""


def _default(option: Option) -> str:
    if option.required:
        return "required"
    if option.is_flag and option.secondary_opts:
        return md.code((option.opts if option.default else option.secondary_opts)[0])
    return md.code(option.default) if option.show_default else ""
