"""`FileInterface`: how an ONNX file of a network is met: names of its input and output, and a softmax at its end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

INTERFACE = "file_interface"  # key of a captured network's `meta`


@dataclass(frozen=True)
class FileInterface:
    """What is outside of a network's layers in its files; that of the file that a network was read from survives.

    Attributes:
        images: Name of the input.
        logits: Name of the output.
        softmax: Whether the file ends in a softmax. Teachers and students give the logits in front of it.
    """

    images: str = "images"
    logits: str = "logits"
    softmax: bool = False

    def to_dict(self) -> dict[str, str | bool]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "FileInterface":
        """Returns what `to_dict` wrote; None stands for the default."""
        return cls(**values) if values else cls()


def interface_of(network: nn.Module) -> FileInterface:
    """Returns the interface that a captured network brings along, or the default one."""
    meta: Mapping[str, Any] = getattr(network, "meta", {})
    return meta.get(INTERFACE, FileInterface())
