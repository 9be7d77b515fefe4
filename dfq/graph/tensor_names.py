"""`TensorNames`: what the images and the logits of a network are called in ONNX files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

NAMES = "tensor_names"  # key of a captured network's `meta`


@dataclass(frozen=True)
class TensorNames:
    """The names of the input and of the output of a file; those of the file that a network was read from survive.

    Attributes:
        images: Name of the input.
        logits: Name of the output.
    """

    images: str = "images"
    logits: str = "logits"

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, str] | None) -> "TensorNames":
        """Returns the names that `to_dict` wrote; None stands for the default ones."""
        return cls(**values) if values else cls()


def names_of(network: nn.Module) -> TensorNames:
    """Returns the names that a captured network brings along, or the default ones."""
    meta: Mapping[str, Any] = getattr(network, "meta", {})
    return meta.get(NAMES, TensorNames())
