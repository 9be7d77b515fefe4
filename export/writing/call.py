"""One call of a function or layer, as the rows of this package see it."""

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from dfq.export.lowering.recorder import NoRow, Recorder

Written = ir.Value | list[ir.Value]


class Batch:
    """Stands for the number of images, which a file leaves open."""


@dataclass(frozen=True)
class Call:
    """One call of a function.

    Attributes:
        to: Where operators are recorded.
        arguments: The positional arguments; an `ir.Value` takes the place of each tensor, and `Batch` that of the
            number of images.
        keywords: The keyword arguments, likewise.
        tensors: The positional arguments as torch sees them.
        result: What torch computed.
    """

    to: Recorder
    arguments: tuple
    keywords: dict[str, Any]
    tensors: tuple
    result: Any

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """Returns an argument by its place or its name."""
        return self.arguments[place] if len(self.arguments) > place else self.keywords.get(name, default)

    def write(self, name: str, inputs: list, outputs: int = 1, **attributes: Any) -> Written:
        """Writes an operator; returns its output, or a list of them where there are several."""
        written = self.to.add(name, inputs, attributes, outputs=outputs)
        return written[0] if outputs == 1 else written


def require(*conditions: bool) -> None:
    """Raises `NoRow` unless all conditions hold."""
    if not all(conditions):
        raise NoRow


def pair(value: Any) -> list[int]:
    """Returns height and width from one number, or from both."""
    return [value, value] if isinstance(value, int) else [int(each) for each in value] * (2 if len(value) == 1 else 1)


def plain_number(call: Call, value: Any) -> ir.Value:
    """Returns a number as a constant in floating point."""
    require(isinstance(value, (int, float)))
    return call.to.number(float(value))
