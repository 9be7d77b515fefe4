"""What every training loop does at each step: the learning rate of its schedule, and no step that is not finite."""

from collections.abc import Iterable, Sequence
from math import cos, inf, isfinite, pi

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


def cosine(done: float) -> float:
    """Returns what is left of a first value at the fraction `done` of a run: a cosine from 1 to 0."""
    return 0.5 * (1 + cos(pi * done))


def set_learning_rates(optimizer: torch.optim.Optimizer, first: Sequence[float], done: float) -> None:
    """Gives each group of `optimizer` its `first` learning rate times `cosine(done)`."""
    for group, rate in zip(optimizer.param_groups, first, strict=True):
        group["lr"] = rate * cosine(done)


def step_if_finite(
    optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[nn.Parameter], *, max_norm: float = inf
) -> bool:
    """Takes one step against `loss`, unless it or its gradient is not finite; returns whether the step was taken.

    One step that is not finite would turn every parameter into NaN for good.

    Args:
        parameters: Those that get a gradient; the optimizer's are among them.
        max_norm: The gradient is scaled down to this L2 norm, taken over all `parameters`.
    """
    moved = list(parameters)
    for parameter in moved:
        parameter.grad = None
    loss.backward()
    norm = get_total_norm([parameter.grad for parameter in moved if parameter.grad is not None])
    if not (isfinite(loss.item()) and isfinite(float(norm))):
        return False
    if max_norm < inf:
        clip_grads_with_norm_(moved, max_norm, norm)
    optimizer.step()
    return True
