"""The layers of a network on the terminal: all that have weights, also those that stay in floating point."""

from collections.abc import Mapping
from operator import attrgetter

from rich.table import Table
from torch import Tensor, fx

from dfq.cli import console
from dfq.results.report import layers
from dfq.results.verdict import SHORT, small_share

TYPES = {"Conv2d": "conv", "Linear": "linear", "conv_transpose2d": "transposed"}
COLUMNS = ("layer", "type", "weight", "parameters", "MACs", "W", "A")


def layer_table(title: str, student: fx.GraphModule, coverage: Mapping) -> Table:
    """A row for each layer; one in floating point has the reason in place of the bits that it reads.

    Args:
        coverage: `dfq.student.coverage.Coverage.to_dict()` of the student.
    """
    known = {row["name"]: row for row in layers(student)}
    total = max(sum(layer["macs"] for layer in coverage["layers"]), 1)
    rows = [_row(layer, known.get(layer["name"]), student, layer["macs"] / total) for layer in coverage["layers"]]
    return console.table(title, COLUMNS, rows, left=2)


def _row(layer: Mapping, known: Mapping | None, student: fx.GraphModule, part: float) -> tuple[str, ...]:
    shape = known["shape"] if known else _shape(student, layer["name"])
    parameters = _parameters(student, layer["name"]) if known else layer["weights"]
    return (
        layer["name"],
        TYPES.get(layer["type"], layer["type"]),
        "×".join(map(str, shape)) or "–",
        f"{parameters:,}",
        small_share(part),
        str(known["weight_bits"]) if known else "–",
        SHORT.get(layer["reason"], layer["reason"]) or str(known["input_bits"] if known else "–"),
    )


def _shape(student: fx.GraphModule, name: str) -> list[int]:
    """Of a stored weight; none of one that is computed."""
    try:
        found = attrgetter(name)(student)
    except AttributeError:
        return []
    return list(found.shape) if isinstance(found, Tensor) else []


def _parameters(student: fx.GraphModule, layer: str) -> int:
    """Of weight and bias, BatchNorm folded into them."""
    module = student.get_submodule(layer)
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))
