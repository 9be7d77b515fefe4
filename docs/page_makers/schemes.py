"""Reference: the schemes, which say what of a network is quantized."""

import inspect
import re
from dataclasses import fields

from dfq.quantizers import scheme
from dfq.quantizers.scheme import SCHEMES, QuantSpec, Scheme, make_scheme
from dfq.student import placement
from page_makers import markdown as md

BITS = 4
INTRODUCTION = f"""# Schemes

`--scheme NAME` says which tensors of a network are quantized, and by which rule the bits of a layer follow from
`--bits`. A *matrix layer* is a convolution or a linear layer. Figures of papers compare only within one scheme;
[what "4 bits" means](../explanation/what-4-bits-means.md) explains why.

The table holds what each scheme makes of `--bits {BITS}`.
"""
# What is said elsewhere, or by other options.
CHOSEN = ("name", "overrides", "weight_overrides", "activation_overrides", "target")


def page() -> str:
    about, made = md.attributes(Scheme), {name: make_scheme(name, bits=BITS) for name in SCHEMES}
    names = [field.name for field in fields(Scheme) if field.name not in CHOSEN]
    rows = [(md.code(name), *(_answer(getattr(one, name)) for one in made.values())) for name in names]
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            md.table(("", *map(md.code, SCHEMES)), rows),
            *(f"## {name}\n\n{md.sentence(_comment(name))}" for name in SCHEMES),
            "## What the rows mean",
            md.definitions((md.code(name), md.sentence(about[name])) for name in names),
            "## Where quantizers stand",
            *_placements(),
            "## Grids",
            md.first_paragraph(QuantSpec),
            md.definitions((md.code(name), md.sentence(text)) for name, text in md.attributes(QuantSpec).items()),
        ]
    )


def _comment(name: str) -> str:
    """What stands above the row in the code."""
    found = re.search(rf'((?:^ +#.*\n)+) +"{name}": ', inspect.getsource(scheme), re.MULTILINE)
    assert found is not None, f"no comment above the scheme {name}"
    return " ".join(line.strip(" #") for line in found.group(1).splitlines())


def _answer(found: object) -> str:
    return {True: "yes", False: "no", None: "as the rest"}.get(found) or str(found)  # type: ignore[call-overload]


def _placements() -> list[str]:
    """The docstring of the module that decides it: an introduction, a rule for each name, and what holds for all."""
    text = inspect.getdoc(placement) or ""
    rules = re.findall(r'^ {4}("[\w-]+"): (.*?)(?=^ {4}"|^\S|\Z)', text, re.DOTALL | re.MULTILINE)
    after = text.rpartition(rules[-1][1])[2]
    facts = ((md.code(name), md.sentence(" ".join(rule.split()).rstrip(";"))) for name, rule in rules)
    return [md.definitions(facts), " ".join(after.split())]
