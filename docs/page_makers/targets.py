"""Reference: the runtimes that a file can be written for."""

from dataclasses import fields

from dfq.quantizers.targets import DEFAULT_TARGET, TARGETS, Target
from page_makers import markdown as md

INTRODUCTION = f"""# Targets

`--target NAME` says which runtime the ONNX file is for. The default is `{DEFAULT_TARGET}`. How to decide is told in
[choose a runtime](../how-to/choose-a-runtime.md); how to add a row in [add a runtime](../how-to/add-a-runtime.md).

The same holds for all of them: weights are int8 with zero point 0 and one scale for each output channel, activations
have one scale for each tensor, BatchNorm is folded, and QuantizeLinear and DequantizeLinear say what is quantized.
"""
TEXTS = ("name", "reason", "source")


def page() -> str:
    about = md.attributes(Target)
    flags = [field.name for field in fields(Target) if field.name not in TEXTS]
    rows = [(md.code(flag), *(_answer(getattr(row, flag)) for row in TARGETS.values())) for flag in flags]
    return "\n\n".join(
        [
            INTRODUCTION.strip(),
            md.table(("what the runtime wants", *map(md.code, TARGETS)), rows),
            *(_section(row) for row in TARGETS.values()),
            "## What the rows mean",
            md.definitions((md.code(flag), md.sentence(about[flag])) for flag in flags),
        ]
    )


def _section(row: Target) -> str:
    default = " (default)" if row.name == DEFAULT_TARGET else ""
    return (
        f"## {row.name}{default} {{#{row.name}}}\n\n{md.sentence(row.reason)}\n\nSource: {md.with_links(row.source)}."
    )


def _answer(found: object) -> str:
    return {True: "yes", False: "no"}[found] if isinstance(found, bool) else str(found)
