"""What every training loop does at each step: the learning rate of its schedule, and no step that is not finite."""

from collections.abc import Iterable, Sequence
from math import cos, inf, isfinite, pi

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dfq.system.exchange import add_up
from dfq.system.processes import processes


def cosine(done: float) -> float:
    """Returns what is left of a first value at the fraction `done` of a run: a cosine from 1 to 0."""
    return 0.5 * (1 + cos(pi * done))


def set_learning_rates(optimizer: torch.optim.Optimizer, first: Sequence[float], done: float) -> None:
    """Gives each group of `optimizer` its `first` learning rate times `cosine(done)`."""
    for group, rate in zip(optimizer.param_groups, first, strict=True):
        group["lr"] = rate * cosine(done)


def step_if_finite(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    parameters: Iterable[nn.Parameter],
    *,
    max_norm: float = inf,
    together: bool = False,
) -> bool:
    """Takes one step against `loss`, unless it or its gradient is not finite; returns whether the step was taken.

    One step that is not finite would turn every parameter into NaN for good.

    Args:
        loss: The loss; where processes step together, this process's part of the sum that the loss is.
        parameters: Those that get a gradient; the optimizer's are among them.
        max_norm: The gradient is scaled down to this L2 norm, taken over all `parameters`.
        together: Whether the processes of the run take the same step, against the sum of their losses.
    """
    moved = list(parameters)
    for parameter in moved:
        parameter.grad = None
    if loss.requires_grad or not together:  # A process without a part of the batch has no gradient.
        loss.backward()
    value = _added_up(loss, moved) if together else loss.item()
    norm = get_total_norm([parameter.grad for parameter in moved if parameter.grad is not None])
    if not (isfinite(value) and isfinite(float(norm))):
        return False
    if max_norm < inf:
        clip_grads_with_norm_(moved, max_norm, norm)
    optimizer.step()
    return True


def _added_up(loss: Tensor, parameters: list[nn.Parameter]) -> float:
    """Replaces the gradients by their sums over all processes; returns the sum of the losses.

    A parameter without a gradient in every process stays without one, so that the optimizer leaves it out.
    """
    if processes().count == 1:
        return loss.item()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    counts = loss.new_tensor([p.grad is not None for p in parameters], dtype=torch.float32)
    value = loss.detach().float().reshape(1)
    add_up([value, counts, *gradients])
    for parameter, gradient, count in zip(parameters, gradients, counts.tolist(), strict=True):
        parameter.grad = gradient if count else None
    return float(value)
