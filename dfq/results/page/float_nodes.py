"""The sections on the nodes that the runtime computes on integers, and on those that stayed in floating point."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from dfq.results.page.parts import Section, Table


def node_sections(nodes: Mapping) -> list[Section]:
    """Returns the sections on the nodes of the runtime's graph (`dfq.export.engines.kernel_report`)."""
    integers = ", ".join(f"{op} × {count}" for op, count in nodes["integer"].items()) or "Nothing."
    return [Section("What the runtime computes in integers", integers), *_in_float(nodes["float"])]


def _in_float(nodes: Sequence[Mapping]) -> list[Section]:
    if not nodes:
        return []
    by_reason: dict[str, Counter[str]] = defaultdict(Counter)
    for node in nodes:
        by_reason[node["reason"]][node["op"]] += 1
    groups = sorted(by_reason.items(), key=lambda group: -group[1].total())
    rows = tuple(
        (str(operators.total()), ", ".join(f"{op} × {count}" for op, count in operators.most_common()), reason)
        for reason, operators in groups
    )
    order = {reason: index for index, (reason, _) in enumerate(groups)}
    names = tuple((node["name"], node["op"]) for node in sorted(nodes, key=lambda node: order[node["reason"]]))
    return [
        Section(
            "What stayed in floating point",
            table=Table(("nodes", "operators", "reason"), rows),
            folded=Table(("node", "operator"), names),
        )
    ]
