"""Makes options from the fields of a job's settings, so that the command line and Python say the same."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, TypeVar, get_args, get_type_hints

import click

from dfq.calibration import METHODS
from dfq.calibration.methods import AUTO
from dfq.cli.option_types import Named, Parsed, parse_bits, parse_bytes, parse_layer_bits, parse_operations
from dfq.jobs.distill.settings import STARTS, DistillSettings
from dfq.jobs.increment import STRATEGIES, IncrementSettings
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.settings import JobSettings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import SCHEMES
from dfq.quantizers.targets import TARGETS
from dfq.system.budget import parse_duration

SettingsClass = TypeVar("SettingsClass", bound=JobSettings)
SCHEME_OPTIONS = ("weight_bits", "activation_bits", "scheme", "target", "layer_bits")


@dataclass(frozen=True)
class Typed:
    """How a field is typed on the command line, where its Python type alone does not say it.

    Attributes:
        type: The type that turns the text into a value.
        metavar: The word that stands for the value in `--help`.
        more: A text that the command line adds to the field's description.
        multiple: Whether the option may be repeated.
    """

    type: click.ParamType
    metavar: str | None = None
    more: str = ""
    multiple: bool = False


STRATEGY_ROWS = "; ".join(f"{row.name}: {row.summary}" for row in STRATEGIES.values())
TYPED: dict[tuple[type, str], Typed] = {
    (JobSettings, "budget"): Typed(Parsed("time", parse_duration), "TIME", "The units are s, m and h."),
    (Settings, "bits"): Typed(Parsed("N or mixed", parse_bits), "N"),
    (Settings, "target_size"): Typed(Parsed("size", parse_bytes), "SIZE", "The units are B, kB, MB and GB (decimal)."),
    (Settings, "target_bops"): Typed(Parsed("number", parse_operations), "N", "k, M, G and T are factors (decimal)."),
    (Settings, "scheme"): Typed(Named("scheme", SCHEMES, "see --help"), "NAME"),
    (Settings, "target"): Typed(Named("target", TARGETS, "see --help"), "NAME"),
    (Settings, "layer_bits"): Typed(Parsed("name=bits", parse_layer_bits), "NAME=BITS", "Repeatable.", multiple=True),
    (Settings, "method"): Typed(Named("method", (AUTO, *METHODS), "see `dfq methods`"), "NAME"),
    (Settings, "ranges"): Typed(Named("ranges", RANGES, "see --help"), "NAME"),
    (DistillSettings, "method"): Typed(Named("method", METHODS, "see `dfq methods`"), "NAME"),
    (DistillSettings, "start"): Typed(click.Choice(STARTS)),
    (IncrementSettings, "strategy"): Typed(Named("strategy", STRATEGIES, "see --help"), "NAME", f"{STRATEGY_ROWS}."),
}


def settings_options(kind: type[JobSettings], *names: str, **texts: str) -> Callable:
    """Returns a decorator that adds an option for each named field of `kind`; for all of them if none is named.

    Args:
        texts: Descriptions of fields that mean something else for this command.
    """
    rows = {field.name: field for field in fields(kind)}
    own = [name for name in kind.__annotations__ if name in rows]
    described = descriptions(kind) | texts

    def decorate(function: Callable) -> Callable:
        for name in reversed(names or (*own, *(name for name in rows if name not in own))):
            function = _option(kind, rows[name], described.get(name, ""))(function)
        return function

    return decorate


def take_settings(kind: type[SettingsClass], values: dict[str, Any]) -> SettingsClass:
    """Moves the values of the options of `kind` out of a command's keywords, and checks them together."""
    given = {field.name: values.pop(field.name) for field in fields(kind) if field.name in values}
    if "layer_bits" in given:
        given["layer_bits"] = dict(given["layer_bits"])
    return kind(**given)


def descriptions(kind: type) -> dict[str, str]:
    """Returns what the section `Attributes:` of the docstrings of `kind` and its bases says about each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
        entries = re.findall(
            r"^ {4}(\w+(?:, \w+)*): (.*?)(?=^ {4}\w+(?:, \w+)*: |\Z)",
            section.group(1) if section else "",
            re.DOTALL | re.MULTILINE,
        )
        for names, about in entries:
            found |= dict.fromkeys(names.split(", "), " ".join(about.split()))
    return found


def _option(kind: type, field: Field, text: str) -> Callable:
    typed = next((TYPED[base, field.name] for base in kind.__mro__ if (base, field.name) in TYPED), None)
    option, has_default = f"--{field.name.replace('_', '-')}", field.default not in (None, MISSING)
    hint = get_type_hints(kind)[field.name]
    common: dict[str, Any] = {"help": _help(kind, text, typed, has_default)}
    if has_default:
        common |= {"default": field.default, "show_default": True}
    if hint is bool:
        return click.option(f"{option}/--no-{field.name}", **common)
    if typed is not None:
        return click.option(option, type=typed.type, metavar=typed.metavar, multiple=typed.multiple, **common)
    return click.option(option, type=float if float in (hint, *get_args(hint)) else int, metavar="N", **common)


def _help(kind: type, text: str, typed: Typed | None, has_default: bool) -> str:
    """Returns the description as `--help` shows it: fields become options, and "None: …" becomes the default."""
    text = re.sub(r"`(\w+)`", lambda found: _as_option(kind, found[1]), text)
    about, _, unless = text.partition(" None: ")
    usual, _, rest = unless.partition(". ")
    said = " ".join(part for part in (about, rest, typed.more if typed else "") if part)
    return said if has_default else f"{said}  [default: {usual.rstrip('.') or 'none'}]"


def _as_option(kind: type, name: str) -> str:
    return f"--{name.replace('_', '-')}" if name in {field.name for field in fields(kind)} else name
