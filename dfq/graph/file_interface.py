"""`FileInterface`: how an ONNX file of a network is met: names of its input and outputs, and a softmax at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dfq.graph.outputs import IMAGES, LOGITS

INTERFACE = "file_interface"  # key of a captured network's `meta`


@dataclass(frozen=True)
class FileInterface:
    """What is outside of a network's layers in its files; that of the file that a network was read from survives.

    Attributes:
        images: Name of the input.
        outputs: Names of the outputs, in order.
        softmax: Whether the file ends in a softmax. Teachers and students give the logits in front of it.
    """

    images: str = IMAGES
    outputs: tuple[str, ...] = (LOGITS,)
    softmax: bool = False

    def to_dict(self) -> dict[str, str | list[str] | bool]:
        return {"images": self.images, "outputs": list(self.outputs), "softmax": self.softmax}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "FileInterface":
        """Returns what `to_dict` wrote; None stands for the default. Older runs name a single output `logits`."""
        if not values:
            return cls()
        outputs = tuple(values.get("outputs") or (values.get("logits", LOGITS),))
        images, softmax = values["images"], values["softmax"]
        if not all(isinstance(name, str) for name in (images, *outputs)) or not isinstance(softmax, bool):
            raise ValueError("names of input and outputs that are no texts")
        return cls(images, outputs, softmax)


def interface_of(network: nn.Module) -> FileInterface:
    """Returns the interface that a captured network brings along, or the default one."""
    meta: Mapping[str, Any] = getattr(network, "meta", {})
    return meta.get(INTERFACE, FileInterface())
