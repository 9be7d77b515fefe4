"""The census: what becomes of many architectures that nobody here had tried."""

from page_makers import benchmarks

INTRODUCTION = """# The census

What becomes of networks of torchvision and timm that nobody here had tried, at 8 bits (scheme `deploy`, target
`ort-cpu`, random weights). Every network that converts gave the same logits before and after the capture on random
images, 1, 2 and 5 at a time, or it would stand here as refused. Shares are of the multiply–accumulates of layers with
weights; a refused network has the share 0.

- *On integers* is what the file for `ort-cpu` computes with integer kernels.
- *Without choices* is the same if no layer stayed in floating point for the sake of speed. The choices were measured on
  a few networks, and are a guess for the others.
- *On integers, before* is the version that followed Python with `fx.symbolic_trace`.

What the reasons mean is told in [reasons for floating point](reference/reasons-for-float.md).
"""
LISTS = (
    ("Architectures that were chosen", "zoo.json", "names.txt", "zoo_before.json"),
    ("Architectures that were drawn at random", "zoo_2.json", "names_2.txt", None),
)


def page() -> str:
    zoo_table = benchmarks.module("zoo.table")
    return "\n\n".join([INTRODUCTION.strip(), *(_section(zoo_table, *one) for one in LISTS)]) + "\n"


def _section(zoo_table, title: str, name: str, names: str, before: str | None) -> str:
    rows = benchmarks.content(name)
    earlier = None if before is None else benchmarks.content(before)
    out = "" if name == "zoo.json" else f" --out benchmarks/results/{name}"
    return "\n\n".join(
        [
            f"## {title}",
            zoo_table.table(rows, earlier),
            benchmarks.provenance(f"python -m benchmarks.zoo.run benchmarks/zoo/{names}{out}", [], name),
        ]
    )
