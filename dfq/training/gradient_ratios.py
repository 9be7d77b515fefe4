"""How strongly losses pull at a tensor, so that weights can be given as ratios of gradients."""

import torch
from torch import Tensor

LARGEST = 1e4  # Where a loss hardly has a gradient, no weight makes it count.


def gradient_length(loss: Tensor, at: Tensor) -> float:
    """Returns the L2 norm of the gradient of a scalar loss at a tensor; 0 where it does not depend on it."""
    if not loss.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(loss, at, retain_graph=True, allow_unused=True)
    return 0.0 if gradient is None else float(gradient.float().norm())


def gradient_ratio(reference: Tensor, loss: Tensor, at: Tensor | None) -> float:
    """Returns the weight at which the gradient of `loss` is as long as that of `reference`, at a tensor `at`.

    It is 0 where `loss` has no gradient there, and at most 10⁴.
    """
    if at is None or not at.requires_grad:
        return 0.0
    length = gradient_length(loss, at)
    return 0.0 if length == 0 else min(gradient_length(reference, at) / length, LARGEST)
