"""Reference: how `dfq increment` keeps what a network knows."""

from functools import partial

from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.increment.strategies import STRATEGIES, Strategy
from page_makers import markdown as md

INTRODUCTION = f"""# Strategies

`dfq increment --strategy NAME` says how the old classes are kept while new ones are learned. The default is
`{IncrementSettings.strategy}`. What each one reaches is measured in [the results](../results.md#new-classes); how the
command is used is told in [new classes](../how-to/new-classes.md).
"""


def page() -> str:
    rows = [
        (f"[`{row.name}`](#{row.name})", row.summary, "yes" if row.images else "no", str(len(row.terms)))
        for row in STRATEGIES.values()
    ]
    head = ("strategy", "what it does", "synthesizes old classes", "losses")
    return "\n\n".join([INTRODUCTION.strip(), md.table(head, rows), *map(_section, STRATEGIES.values())])


def _section(row: Strategy) -> str:
    source = row.source.func if isinstance(row.source, partial) else row.source
    facts = [
        ("Images of the old classes", md.first_paragraph(source) if row.images else "None."),
        ("Made before learning starts", f"{row.first_share:.0%} of them".replace("%", " %") if row.images else ""),
        ("Learning rate of the classifier", f"{row.head_rate:g} times that of the features"),
    ]
    losses = [f"- `{type(term).__name__}`: {md.first_paragraph(type(term))} {_weights(term)}" for term in row.terms]
    return "\n\n".join(
        [
            f"## {row.name}",
            md.sentence(row.summary),
            md.definitions(facts),
            "What is minimised is the sum of:",
            "\n".join(losses),
        ]
    )


def _weights(term: object) -> str:
    found = md.parameters(term)
    return f"({found})" if found else ""
