"""Compares the outputs of a rewritten network with those of the network that it was made from."""

import torch
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.graph.outputs import Outputs, as_tuple, is_whole, named_outputs
from dfq.graph.settings import SameOutputsSettings
from dfq.graph.silence import silence

ROUNDINGS = 4  # A value of another order of additions is this many roundings off at most.
WAY_OUT = "rewrite that line, and pass the network as --arch path/to/net.py:factory"


@torch.no_grad()
def check_alone(
    network: nn.Module, images: Tensor, name: str, *, settings: SameOutputsSettings = SameOutputsSettings()
) -> None:
    """Raises `DfqError` where the outputs of an image depend on the other images (N, C, H, W) of its batch."""
    together, alone = tuple(each[1:2] for each in as_tuple(network(images))), as_tuple(network(images[1:2]))
    if not same_outputs(together, alone, settings=settings):
        raise DfqError(
            f"{name} gives an image other outputs together with others than alone: {off_by(together, alone)}",
            "outputs that do not depend on the other images of the batch",
            "find what computes across images (statistics of the batch, a mean over dimension 0) and remove it",
        )


@torch.no_grad()
def check_same(
    network: nn.Module,
    original: nn.Module,
    images: Tensor,
    name: str,
    *,
    settings: SameOutputsSettings = SameOutputsSettings(),
) -> None:
    """Raises `DfqError` where `network` gives other outputs than `original` for these images (N, C, H, W)."""
    given = named_outputs(original(images.clone()), len(images), name)  # the network may write to its input
    expected = tuple(given.tensors.values())
    for output, value in given.tensors.items():
        if not value.isfinite().all():
            raise DfqError(
                f"{name} gives values in '{output}' that are not finite, for random images",
                "finite outputs",
                "take out the operator that sets values to infinity, or check the weights",
            )
    try:
        with silence():
            found = as_tuple(network(images))
    except RuntimeError as error:
        raise DfqError(
            f"{name}, captured as a graph, fails on {len(images)} images: {str(error).splitlines()[0][:200]}",
            "a network that takes any number of images",
            WAY_OUT,
            exit_code=1,
        ) from error
    if not same_outputs(found, expected, settings=settings):
        raise DfqError(
            f"{name} gives other outputs for {len(images)} images once it is captured as a graph: "
            f"{off_by(found, expected)}",
            "the same outputs",
            "the forward pass may be random or keep state between calls: change that, and pass the network again",
            exit_code=1,
        )


@torch.no_grad()
def same_outputs(found: Outputs, expected: Outputs, *, settings: SameOutputsSettings = SameOutputsSettings()) -> bool:
    """Returns whether outputs differ by no more than those of kernels that add in another order."""
    pairs = list(zip(as_tuple(found), as_tuple(expected), strict=False))
    return len(as_tuple(found)) == len(as_tuple(expected)) and all(_are_same(*pair, settings) for pair in pairs)


def _are_same(found: Tensor, expected: Tensor, settings: SameOutputsSettings) -> bool:
    if found.shape != expected.shape:
        return False
    if is_whole(expected):  # where two values are nearly equal, an argmax may fall on either
        return int((found != expected).sum()) <= settings.other_choices * expected.numel()
    tolerance = max(settings.tolerance, ROUNDINGS * torch.finfo(expected.dtype).eps)  # which is that of 16 bits
    room = tolerance * max(float(expected.detach().abs().max()), settings.smallest_scale)
    return bool(((found - expected).abs() <= room).all())


@torch.no_grad()
def off_by(found: Outputs, expected: Outputs) -> str:
    """Says in words how far two networks' outputs are apart: those of the output that differs most."""
    pairs = list(zip(as_tuple(found), as_tuple(expected), strict=False))
    if len(as_tuple(found)) != len(as_tuple(expected)):
        return f"{len(as_tuple(found))} outputs instead of {len(as_tuple(expected))}"
    for one, other in pairs:
        if one.shape != other.shape:
            return f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
    one, other = max(pairs, key=_relative)
    if is_whole(other):
        return f"{float((one != other).float().mean()):.2%} of the whole numbers"
    return f"up to {float((one - other).abs().max()):.3g}, where the largest is {float(other.abs().max()):.3g}"


def _relative(pair: tuple[Tensor, Tensor]) -> float:
    found, expected = (each.double() for each in pair)
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
