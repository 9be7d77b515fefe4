"""Reference: what `--method` takes, from the table of methods and the docstrings of its parts."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.methods import AUTO, DISTILLS_BY_DEFAULT, METHODS, Distillation, Method
from dfq.jobs.quantize import auto_method
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.settings import Settings
from dfq.training.settings import TrainSettings
from page_makers import markdown as md

INTRODUCTION = f"""# Methods

A method is a source of images and what the student learns from them: `--method NAME`, or
`dfq.quantize(…, method="NAME")`. `dfq methods` prints the first table. `{AUTO}` is the default of `dfq quantize`,
`{DISTILLS_BY_DEFAULT}` that of `dfq distill`. What each method reaches is measured in [the results](../results.md).
How to compare them on a network of your own is told in [compare methods](../how-to/compare-methods.md), and how to add
one in [add a method](../how-to/add-a-method.md).

From Python, `dfq.methods` is this table: a mapping of names to rows (`dfq.calibration.methods.Method`).
"""


def page() -> str:
    head = ("method", "what it does", "trains", "`dfq distill`")
    rows = [(f"[`{row.name}`](#{row.name})", row.summary, _yes(_trains(row)), _yes(_distills(row)))
            for row in METHODS.values()]  # fmt: skip
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            md.table(head, rows),
            _auto(),
            *(part for row in METHODS.values() for part in _section(row)),
            *_glossary(),
        ]
    )


def _yes(found: bool) -> str:
    return "yes" if found else "no"


def _trains(row: Method) -> bool:
    return row.objective is not None


def _distills(row: Method) -> bool:
    return row.objective is not None or row.distillation is not None


def _auto() -> str:
    """What it chooses for each case, by asking it."""
    short = QUANTIZE_DEFAULTS.too_short
    cases: tuple[tuple[str, Settings], ...] = (
        (f"a budget of less than {short:g} s", Settings(budget=short / 2)),
        ("`--steps 0`", Settings(steps=0)),
        ("8 bits", Settings()),
        ("mixed bits", Settings(bits="mixed", average_bits=4.0)),
        ("fewer bits", Settings(bits=4)),
    )
    chosen = [(case, auto_method.choose(settings)) for case, settings in cases]
    rows = [(case, f"[`{found.method}`](#{found.method})", found.reason) for case, found in chosen]
    return "\n\n".join(
        [
            f"## {AUTO}",
            f"`{AUTO}` is no method: it chooses one, says why, and the report repeats that under `choice`. The first "
            "line that applies decides:",
            md.table(("case", "method", "what it says"), rows),
            f"From {QUANTIZE_DEFAULTS.wide} bits on, where the time allowed fewer than {QUANTIZE_DEFAULTS.few_large} "
            "images of more than 64 pixels a side, it takes `instant` after all. Whatever longer method it chose, it "
            "also makes the student of `instant`, compares both on held-out synthetic images, and keeps the better "
            "one.",
        ]
    )


def _section(row: Method) -> Iterator[str]:
    yield f"## {row.name}"
    yield md.sentence(row.summary)
    yield f"Published: {row.paper}." if row.paper else ""
    yield md.definitions(_facts(row))


def _facts(row: Method) -> Iterator[tuple[str, str]]:
    yield "Images", _images(row.synthesizer)
    yield "How they reach the student", md.first_paragraph(_function(row.source))
    yield "Made before training", f"{row.first_share:.0%} of them".replace("%", " %") if row.first_share < 1 else ""
    yield "Number of images", str(row.images) if row.images is not None else ""
    yield "Before ranges are fitted", _all(row.preparations)
    yield "Ranges", f"`{row.ranges}`" if not row.post_training or row.ranges != "mse" else ""
    yield "After ranges are fitted", _all(row.post_training)
    yield "What the student minimises", _described(row.objective) if row.objective else "Nothing: it is not trained."
    yield "Learning rate", f"{row.rate:g} times the usual one" if row.rate != 1 else ""
    yield "Training", _training(row.training)
    yield "With `dfq distill`", _distillation(row.distillation)


def _function(thing: Any) -> Any:
    return thing.func if isinstance(thing, partial) else thing


def _images(synthesizer: Any) -> str:
    maker, arguments = _function(synthesizer), getattr(synthesizer, "args", ())
    if maker is not Inversion:
        module = md.first_paragraph(sys.modules[maker.__module__])
        return f"{md.sentence(module)} {md.first_paragraph(maker)} {_in_brackets(arguments[0]) if arguments else ''}"
    kinds = arguments[0] if isinstance(arguments[0], tuple) else arguments[:1]
    return " Or, in turn: ".join(dict.fromkeys(_inversion(config, kinds) for config in kinds))


def _inversion(config: InversionConfig, kinds: tuple[InversionConfig, ...]) -> str:
    """One kind of image; kinds that differ in their steps for large images alone have one text."""
    form: Any = config.parametrization
    alike = [one for one in kinds if (one.parametrization, one.terms) == (form, config.terms)]
    steps = [str(one.iterations_large or one.iterations) for one in alike]
    large = f" (above 64 pixels {', '.join(steps)}{', in turn' if len(alike) > 1 else ''})"
    terms = "; ".join(f"[`{type(term).__name__}`](#terms) {_in_brackets(term)}" for term in config.terms)
    more = large if set(steps) != {str(config.iterations)} else ""
    matching = f"the deviation from the BatchNorm statistics ({md.parameters(config.matching)}) and "
    return (
        f"Images are optimised. {md.first_paragraph(form)} {config.iterations} gradient steps for each batch{more}, "
        f"against {matching if config.statistics else ''}{terms}."
    )


def _in_brackets(thing: object) -> str:
    found = md.parameters(thing)
    return f"({found})" if found else ""


def _all(steps: tuple) -> str:
    return " Then: ".join(md.first_paragraph(step if inspect.isfunction(step) else type(step)) for step in steps)


def _described(objective: object) -> str:
    return f"{md.first_paragraph(type(objective))} {_in_brackets(objective)}"


def _distillation(found: Distillation | None) -> str:
    if found is None:
        return ""
    training = f" Training: {_training(found.training)}." if found.training else ""
    return f"{_described(found.objective)}{training}"


def _training(fields: Mapping[str, Any]) -> str:
    return ", ".join(md.code(f"{name}={md.value(found).strip('`')}") for name, found in fields.items())


def _glossary() -> Iterator[str]:
    """What the terms of images and the fields of training are."""
    yield "## Terms of images {#terms}"
    yield "What an image is optimised for, beside the BatchNorm statistics:"
    configs = [config for row in METHODS.values() for config in _configs(row)]
    terms = {type(term) for config in configs for term in config.terms}
    yield md.definitions((md.code(term.__name__), md.first_paragraph(term)) for term in sorted(terms, key=str))
    yield "## Fields of training"
    yield "Where a method sets one of these, the settings of the job do not:"
    about = md.attributes(TrainSettings)
    distilled = [row.distillation.training for row in METHODS.values() if row.distillation]
    used = sorted({name for fields in (*(row.training for row in METHODS.values()), *distilled) for name in fields})
    yield md.definitions((md.code(name), md.sentence(about[name])) for name in used)


def _configs(row: Method) -> tuple[Any, ...]:
    """Whatever has terms: of an inversion, or of a generator."""
    found = getattr(row.synthesizer, "args", ())
    flat = found[0] if found and isinstance(found[0], tuple) else found
    return tuple(config for config in flat if hasattr(config, "terms"))
