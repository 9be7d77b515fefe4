"""The table of a network's layers with weights, including those that stay in floating point."""

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
    """Returns a table with a row for each layer; a layer in floating point has a reason in place of its input bits.

    Args:
        title: The title of the table.
        student: The fake-quantized network.
        coverage: What runs on integers in it (`dfq.student.coverage.Coverage.to_dict`).
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
    """Returns the shape of a stored weight, or an empty list for a weight that is computed."""
    try:
        found = attrgetter(name)(student)
    except AttributeError:
        return []
    return list(found.shape) if isinstance(found, Tensor) else []


def _parameters(student: fx.GraphModule, layer: str) -> int:
    """Returns the number of parameters in weight and bias, into which BatchNorm is folded."""
    module = student.get_submodule(layer)
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))
