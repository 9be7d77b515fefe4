"""Compares the logits of a rewritten network with those of the network that it was made from."""

import torch
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.graph.settings import SameLogitsSettings
from dfq.graph.silence import silence

WAY_OUT = "rewrite that line, and pass the network as --arch path/to/net.py:factory"


@torch.no_grad()
def check_alone(
    network: nn.Module, images: Tensor, name: str, *, settings: SameLogitsSettings = SameLogitsSettings()
) -> None:
    """Raises `DfqError` where the logits of an image depend on the other images (N, C, H, W) of its batch."""
    together, alone = network(images)[1:2], network(images[1:2])
    if not same_logits(together, alone, settings=settings):
        raise DfqError(
            f"{name} gives an image other logits together with others than alone: {off_by(together, alone)}",
            "logits that do not depend on the other images of the batch",
            "find what computes across images (statistics of the batch, a mean over dimension 0) and remove it",
        )


@torch.no_grad()
def check_same(
    network: nn.Module,
    original: nn.Module,
    images: Tensor,
    name: str,
    *,
    settings: SameLogitsSettings = SameLogitsSettings(),
) -> None:
    """Raises `DfqError` where `network` gives other logits than `original` for these images (N, C, H, W)."""
    expected = check_logits(original(images.clone()), len(images), name)  # the network may write to its input
    try:
        with silence():
            found = network(images)
    except RuntimeError as error:
        raise DfqError(
            f"{name}, captured as a graph, fails on {len(images)} images: {str(error).splitlines()[0][:200]}",
            "a network that takes any number of images",
            WAY_OUT,
            exit_code=1,
        ) from error
    if found.shape != expected.shape or not same_logits(found, expected, settings=settings):
        apart = off_by(found, expected)
        raise DfqError(
            f"{name} gives other logits for {len(images)} images once it is captured as a graph: {apart}",
            "the same logits",
            "the forward pass may be random or keep state between calls: change that, and pass the network again",
            exit_code=1,
        )


@torch.no_grad()
def same_logits(found: Tensor, expected: Tensor, *, settings: SameLogitsSettings = SameLogitsSettings()) -> bool:
    """Returns whether logits (N, classes) differ by no more than those of kernels that add in another order."""
    room = settings.tolerance * max(float(expected.detach().abs().max()), settings.smallest_scale)
    return bool(((found - expected).abs() <= room).all())


@torch.no_grad()
def off_by(found: Tensor, expected: Tensor) -> str:
    """Says in words how far two tensors of logits are apart."""
    if found.shape != expected.shape:
        return f"shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    return f"up to {float((found - expected).abs().max()):.3g}, where the largest is {float(expected.abs().max()):.3g}"


def check_logits(output: object, count: int, name: str) -> Tensor:
    """Returns the output where it is logits (N, classes), and raises a `DfqError` where it is not."""
    if isinstance(output, Tensor) and output.dim() == 2 and len(output) == count:
        return output
    shape = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise DfqError(
        f"{name} gives {shape} for {count} images",
        "logits of shape (N, classes)",
        "wrap the network so that it returns its logits: dfq compresses image classifiers",
    )
