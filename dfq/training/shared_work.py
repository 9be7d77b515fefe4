"""How the processes of a run share what training needs: images that they make, and steps on parts of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from dfq.images.batch import Batch
from dfq.system.exchange import add_up, of_first
from dfq.system.processes import processes

_on_parts = False


class Samples(Protocol):
    """What makes images (`dfq.calibration.Synthesizer`); `shares_work` is True where processes make parts of them."""

    def sample(self, count: int) -> Batch: ...


def sample_together(synthesizer: Samples, count: int, device: torch.device) -> Batch:
    """Returns `count` images in every process.

    Where the synthesizer cannot share the work, as a generator that learns step by step, the first process makes all.
    """
    if getattr(synthesizer, "shares_work", False):
        return synthesizer.sample(count)
    return of_first(lambda: synthesizer.sample(count), device)


def depends_on_single_images(network: nn.Module) -> bool:
    """Returns whether a network in training mode maps each image for itself and without chance.

    Statistics of a batch and dropped values are others where a batch is split.
    """
    layers = network.modules()
    return not any(isinstance(layer, _BatchNorm | _DropoutNd) and layer.training for layer in layers)


@contextmanager
def on_parts() -> Iterator[None]:
    """Lets `variance_of_batch` and `power_of_batch` within the block be those of all parts of a batch."""
    global _on_parts
    _on_parts = processes().count > 1
    try:
        yield
    finally:
        _on_parts = False


def variance_of_batch(values: Tensor, axes: tuple[int, ...] | None = None, *, correction: int = 1) -> Tensor:
    """Returns the variance of values, within `on_parts` over the parts of a batch that all processes have.

    It has no gradient.

    Args:
        values: The values of this process's part, float32; the first axis counts images.
        axes: The axes that the variance is taken over, the first one among them; None: all.
        correction: What is subtracted from the number of values to divide by.
    """
    if not _on_parts:
        return values.detach().var(axes, correction=correction)
    total, power, count = _sums(values, axes)
    return (power - total.square() / count) / (count - correction)


def power_of_batch(values: Tensor) -> Tensor:
    """Returns the mean square of values as `variance_of_batch` returns their variance."""
    if not _on_parts:
        return values.detach().square().mean()
    _, power, count = _sums(values, None)
    return power / count


def _sums(values: Tensor, axes: tuple[int, ...] | None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns Σ values, Σ values² and their number over all processes, about which nothing is lost to rounding."""
    values = values.detach().double()
    axes = tuple(range(values.dim())) if axes is None else axes
    total, power = values.sum(axes), values.square().sum(axes)
    count = total.new_full((), values.numel() // max(total.numel(), 1))
    add_up([total, power, count])
    return total, power, count
