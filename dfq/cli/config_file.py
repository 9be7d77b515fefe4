"""`--config`: the options of a command, read from a TOML file or from the `config.json` of a run."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from dfq.cli.option_types import LIBRARIES, PATH
from dfq.errors import DfqError
from dfq.results.stored_files import read_json
from dfq.system.reading import check_is_file, reading

RECORDED = {"quantize": None, "distill": "distilled"}  # command → the `kind` in the `config.json` that it writes
OWN = ("config", "help")  # options that no file can hold


def _take(ctx: click.Context, param: click.Parameter, file: Path | None) -> None:
    """Makes the values of a file the defaults of all other options, after each was tried."""
    if file is None:
        return
    known = {_key(each): each for each in ctx.command.params if _key(each) not in OWN}
    defaults: dict[str, Any] = {}
    for given, value in _read(file, ctx.command.name or "").items():
        key = given.replace("-", "_")
        if key not in known:
            close = get_close_matches(key, known, n=1)
            raise DfqError(
                f"'{file}' holds '{given}'", f"options of `dfq {ctx.command.name}`: {', '.join(known)}",
                f"did you mean {close[0]}?" if close else f"see `dfq {ctx.command.name} --help`",
            )  # fmt: skip
        if value is not None:
            defaults[known[key].name or key] = _checked(known[key], value, f"{given} in '{file}'", ctx)
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


config_option = click.option(
    "--config", type=PATH, metavar="FILE", is_eager=True, expose_value=False, callback=_take,
    help="File that holds MODEL and options, in TOML: bits = 4, method = \"rgal\". The config.json of a finished run "
    "is taken, too. Options that are typed win.  [default: none]",
)  # fmt: skip


def _key(parameter: click.Parameter) -> str:
    """Returns what a parameter is called in a file: "layer_bits" for `--layer-bits`, "model" for MODEL."""
    if isinstance(parameter, click.Argument):
        return parameter.name or ""
    return parameter.opts[-1].lstrip("-").replace("-", "_")


def _read(file: Path, command: str) -> dict[str, Any]:
    if file.suffix == ".json":
        return _recorded(file, command)
    check_is_file(file, "a TOML file, or the config.json of a run", "check the path given to --config")
    with reading(file, way_out="see the page on runs as files for an example"):
        return tomllib.loads(file.read_text(encoding="utf-8"))


def _recorded(file: Path, command: str) -> dict[str, Any]:
    """Returns the options of a finished run.

    A file with code, which may be the network's architecture, is never named by a run folder.

    Raises:
        DfqError: The run was that of another command.
    """
    values = read_json(file)
    settings, is_config = values.get("settings"), "format" in values
    of_command = command in RECORDED and values.get("kind") == RECORDED[command]
    if not (is_config and of_command and isinstance(settings, dict)):
        raise DfqError(
            f"'{file}' records no run of `dfq {command}`",
            "the config.json of a run of the same command, which quantize and distill write, or a TOML file",
            "write the options into a TOML file",
        )
    with reading(file):
        spec, arch = values["input_spec"], values["arch"]
        found = {**settings, "input_size": spec["size"], "mean": spec["mean"], "std": spec["std"]}
        if isinstance(arch, str) and arch.startswith(LIBRARIES):
            found["arch"] = arch
    if "student" in values:
        found["student"] = values["student"]
    return found | ({"no_classes": True} if values.get("is_classifier") is False else {})


def _checked(parameter: click.Parameter, value: Any, place: str, ctx: click.Context) -> Any:
    """Returns a value as it would be typed, so that files and the command line are read by the same code.

    Raises:
        DfqError: The option does not take the value.
    """
    typed = _as_typed(parameter, value, place)
    try:
        parameter.type_cast_value(ctx, typed)
    except click.BadParameter as error:
        raise DfqError(f"{place}: {error.message}", "a value that the option takes", "see --help") from error
    except DfqError as error:
        raise DfqError(f"{place}: {error.found}", error.needed, error.way_out) from error
    return typed


def _as_typed(parameter: click.Parameter, value: Any, place: str) -> Any:
    if isinstance(parameter, click.Option) and parameter.is_flag:
        if not isinstance(value, bool):
            raise DfqError(f"{place} is {value!r}", "true or false", "write it without quotation marks")
        return value
    if isinstance(value, Mapping) and parameter.multiple:
        return [f"{name}={_text(each, place)}" for name, each in value.items()]
    if isinstance(value, list):
        texts = [_text(each, place) for each in value]
        return texts if parameter.multiple else ",".join(texts)
    return [_text(value, place)] if parameter.multiple else _text(value, place)


def _text(value: Any, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DfqError(f"{place} is {value!r}", "a text, a number, or a list of them", "see --help for the option")
    return str(value)
