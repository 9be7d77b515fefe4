"""What the outputs of a network are taken for: logits of classes, or values of any other kind."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import fx

from dfq.errors import DfqError
from dfq.graph.capture.capture import LEFT_OUT, random_images
from dfq.graph.outputs import output_nodes
from dfq.images.input_spec import InputSpec

UNIT = 1e-3  # The length of an embedding is 1 up to this error.


@dataclass(frozen=True)
class Output:
    """One output of a network.

    Attributes:
        name: Its name in ONNX files.
        shape: Its shape for one image, without the number of images.
        is_whole: Whether it holds whole numbers, such as the classes of an argmax.
    """

    name: str
    shape: tuple[int, ...]
    is_whole: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "shape": list(self.shape)}


def outputs_of(network: fx.GraphModule, names: Sequence[str]) -> tuple[Output, ...]:
    """Returns the outputs of a captured network.

    Raises:
        DfqError: All of them are whole numbers, which tell nothing of how far a copy is off.
    """
    metas = [node.meta["tensor_meta"] for node in output_nodes(network)]
    found = tuple(
        Output(name, tuple(meta.shape[1:]), not meta.dtype.is_floating_point)
        for name, meta in zip(names, metas, strict=True)
    )
    if all(output.is_whole for output in found):
        raise DfqError(
            f"a network that gives whole numbers only ({', '.join(names)})",
            "an output in floating point, such as the logits in front of an argmax",
            "leave the last operator out, and pass the network as --arch path/to/net.py:factory",
        )
    return found


def described(outputs: Sequence[Output]) -> str:
    """Returns the outputs in words, such as "out (21, 64, 64), aux (21, 64, 64)"."""
    return ", ".join(f"{output.name} ({', '.join(map(str, output.shape))})" for output in outputs)


@torch.no_grad()
def has_unit_length(network: fx.GraphModule, input_spec: InputSpec) -> bool:
    """Returns whether the network's single output (N, D) has length 1 for each image, as embeddings often have."""
    found = network(random_images(network, input_spec, 2)).float()
    are_probabilities = bool((found >= 0).all()) and bool(((found.sum(1) - 1).abs() < UNIT).all())
    has_length = bool(((found.norm(dim=1) - 1).abs() < UNIT).all())
    return found.shape[1] > 1 and has_length and not are_probabilities


def left_out(network: fx.GraphModule) -> tuple[str, ...]:
    """Returns a sentence on what the network gives beside tensors, if there is something."""
    names = network.meta.get(LEFT_OUT, ())
    return (f"that {', '.join(names)}, which the network gives but which is no tensor, is left out",) if names else ()
