"""Reference: what may be set, by option and by keyword."""

import types
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, get_args

from click import Context, Option

import dfq
import dfq.calibration
import dfq.export
from dfq.cli import main
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.quantize.settings import Settings
from page_makers import markdown as md

KINDS = (("quantize", Settings), ("distill", DistillSettings), ("increment", IncrementSettings))
SHOWN = 40  # characters of a default; longer ones are objects that the code shows better
INTRODUCTION = """# Settings

Every job has settings. On the command line they are options, from Python they are keywords of the function of the same
name: `dfq quantize model.pt --bits 4` and `dfq.quantize("model.pt", bits=4, out="run/")` say the same. They are
checked together before any work begins; what does not fit is an error that says what is needed
([exit codes](exit-codes.md)).

How a checkpoint is read (`--arch`, `--input-size`, `--mean`, `--std`, `--weights`) and where the results go are no
settings of a method. They stand in the [command reference](cli.md) and in the [Python reference](api.md).
"""


STAGES = """## Settings of the stages

Each stage of a job has frozen settings of its own, whose defaults the jobs take. From Python they are arguments of the
stage's function, and fields of the rows of `dfq.methods` where a method sets them.
"""


def page() -> str:
    jobs = [_section(command, kind) for command, kind in KINDS]
    return "\n\n".join([INTRODUCTION.strip(), *jobs, STAGES.strip(), *map(_stage, stage_settings())]) + "\n"


def stage_settings() -> list[type]:
    """Returns every settings class of a stage, in the order of the package's modules."""
    found: dict[str, type] = {}
    for package in (dfq, dfq.calibration, dfq.export):  # the last two lie in folders of their own
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            for name, kind in vars(import_module(module.name)).items():
                if _is_of_stage(name, kind) and kind.__module__ == module.name:
                    found[f"{kind.__module__}.{name}"] = kind
    return [found[name] for name in sorted(found)]


def _is_of_stage(name: str, kind: object) -> bool:
    is_config = name.endswith("Config") and str(getattr(kind, "__module__", "")).startswith("dfq.calibration.")
    is_settings = name.endswith(("Settings", "Defaults", "Limits")) or is_config
    return is_settings and is_dataclass(kind) and kind not in dict(KINDS).values()


def _stage(kind: type) -> str:
    about = md.attributes(kind)
    rows = [
        (md.code(field.name), md.linked(md.sentence(about.get(field.name, ""))), _short(_default(field)))
        for field in fields(kind)
    ]
    where = f"`{kind.__module__}`. {md.first_paragraph(kind)}"
    return "\n\n".join([f"### {kind.__name__}", where, md.table(("field", "meaning", "default"), rows)])


def _short(default: str) -> str:
    return default if len(default) <= SHOWN else ""


def _section(command: str, kind: type) -> str:
    about, options = md.attributes(kind), _options(command)
    rows = [
        (md.code(field.name), options.get(field.name, ""), md.linked(md.sentence(about[field.name])), _type(field),
         _default(field))
        for field in sorted(fields(kind), key=lambda field: field.name not in kind.__annotations__)
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"## dfq {command}",
            f"`dfq.{command}(…)` and `{kind.__module__}.{kind.__name__}`. {md.first_paragraph(kind)}",
            *_further_paragraphs(kind),
            md.table(("keyword", "option", "meaning", "type", "default"), rows),
        ]
    )


def _further_paragraphs(kind: type) -> list[str]:
    paragraphs = (kind.__doc__ or "").split("\n\n")[1:]
    return [" ".join(text.split()) for text in paragraphs if not text.strip().startswith("Attributes:")]


def _options(command: str) -> dict[str, str]:
    """Keyword → the option that sets it, as it is typed."""
    found = main.get_command(Context(main), command)
    assert found is not None
    options = [option for option in found.params if isinstance(option, Option) and option.name]
    return {str(option.name): " ".join(map(md.code, (*option.opts, *option.secondary_opts))) for option in options}


def _type(field: Field[Any]) -> str:
    kinds = get_args(field.type) if isinstance(field.type, types.UnionType) else (field.type,)
    return " or ".join(md.code(_name(kind)) for kind in kinds)


def _name(kind: Any) -> str:
    if kind is types.NoneType:
        return "None"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).rpartition(".")[2]


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return md.value(field.default)
    if field.default_factory is MISSING:
        return ""
    return md.value(field.default_factory())
