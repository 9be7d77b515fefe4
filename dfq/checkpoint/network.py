"""Prepares a network in memory: without wrappers, in float32, with the description of its input."""

from collections.abc import Sequence

from torch import nn

from dfq.checkpoint.input import resolve_input_spec
from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models.own_input import own_input
from dfq.models.torchvision_detectors import refuse_whole
from dfq.models.wrappers import plain_copy


def describe_network(
    model: nn.Module,
    *,
    input_size: Sequence[int] | None,
    mean: float | Sequence[float] | None,
    std: float | Sequence[float] | None,
) -> tuple[nn.Module, InputSpec, tuple[str, ...]]:
    """Returns the network, its input, and sentences on what was assumed.

    What is not passed comes from the network's class, if that is torchvision's or timm's.

    Raises:
        DfqError: The class is another one, and `input_size`, `mean` and `std` are not all passed; or it is a detector
            of torchvision, whose forward pass takes a list of images.
    """
    network, changed = plain_copy(model)
    refuse_whole(network)
    flags = {"size": input_size, "mean": mean, "std": std}
    published, whose = (None, "") if None not in flags.values() else own_input(network) or (None, "")
    if published is None and None in flags.values():
        raise DfqError(
            "a network in memory without the description of its input",
            "size and normalisation of the images that it was trained on",
            "dfq.quantize(model, input_size=(3, 32, 32), mean=(…), std=(…), …)",
        )
    spec, assumed = resolve_input_spec(flags, {}, published, whose)
    return network, spec, (*changed, *assumed)
