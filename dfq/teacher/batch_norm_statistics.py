"""L_bn: how far a batch's statistics are from those that a network's BatchNorm layers remember.

The usual hooks (`x.mean((0, 2, 3))`, `x.var(...)`) triple the time of a synthesis step: several passes over every
feature map forward, several more backward. Here one autograd function takes both moments in one native pass and adds
their gradient to the one that flows through the network anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

Moments = list[tuple[Tensor, Tensor] | None]  # (mean, biased variance) per layer; None: the layer did not run
EPS = 2.0**-16  # exact beside 1
SMALLEST_VARIANCE = 1e-3  # of a layer's mean variance; a channel below it is dead, and would dominate the loss


def normalization_layers(model: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers with running statistics, in order of registration."""
    kinds = (nn.BatchNorm2d, nn.BatchNorm1d)
    return [m for m in model.modules() if isinstance(m, kinds) and m.running_var is not None]


def channel_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, biased variance), float32 of shape (C,), of features (N, C, …)."""
    if features.device.type not in ("cpu", "cuda"):  # the kernel below is not everywhere
        dims = [d for d in range(features.dim()) if d != 1]
        variance, mean = torch.var_mean(features.detach().float(), dims, correction=0)
        return mean, variance
    running = torch.zeros(features.shape[1], device=features.device)  # in float32, so that the kernel answers in it
    return torch.ops.aten.batch_norm_update_stats(features.detach(), running, running.clone(), 0.0)


class _Moments(torch.autograd.Function):
    """features → (features, mean, variance); the gradients of the moments join that of the features in one pass."""

    @staticmethod
    def forward(ctx, features: Tensor):
        mean, variance = channel_moments(features)
        ctx.save_for_backward(features, mean)
        return features.view_as(features), mean, variance

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        gradient, gradient_mean, gradient_variance = gradients
        features, mean = ctx.saved_tensors
        count = features.numel() // features.shape[1]
        # ∂mean/∂x = 1/n and ∂variance/∂x = 2 (x − mean)/n: together an affine map of x per channel.
        factor = gradient_variance * (2 / count)
        offset = gradient_mean / count - factor * mean
        variance = torch.full_like(mean, 1 - EPS)  # torch 2.11 refuses to do without eps
        affine = torch.nn.functional.batch_norm(  # the native kernel is the fastest affine map per channel
            features, torch.zeros_like(mean), variance, factor, offset, eps=EPS
        )
        return affine.add_(gradient)


class BatchNormStatistics:
    """Hooks on the BatchNorm layers of `model`; `remove()` takes them off again (see `Teacher.bn_statistics`)."""

    def __init__(self, model: nn.Module):
        self.layers = normalization_layers(model)
        self._references = [_Reference.of(layer) for layer in self.layers]
        self._moments: Moments = [None] * len(self.layers)
        self._handles = [layer.register_forward_pre_hook(self._hook(index)) for index, layer in enumerate(self.layers)]

    def _hook(self, index: int):
        def record(module, inputs):
            features, mean, variance = _Moments.apply(inputs[0])
            self._moments[index] = (mean, variance)
            return (features,)

        return record

    def per_layer(self) -> Tensor:
        """Deviation of each layer's input in the last forward pass, (layers,), float32.

        mean over channels of ((μ − μ̂)/σ̂)² + (σ/σ̂ − 1)²: relative, so that layers and channels weigh alike, unlike
        the plain distances of ZeroQ and DeepInversion. Channels whose running variance is about 0 are left out.
        """
        return self.deviations(self._moments)

    @property
    def moments(self) -> Moments:
        """Mean and variance of each layer's input in the last forward pass."""
        return list(self._moments)

    def deviations(self, moments: Moments, *, slack: float = 0.0) -> Tensor:
        """`per_layer()` of other moments, such as those of many batches (`pool_moments`).

        Args:
            slack: part of each channel's standard deviation up to which a difference counts as none.
        """
        ran = [(r, m) for r, m in zip(self._references, moments, strict=True) if m is not None]
        channels = [len(reference.mean) for reference, _ in ran]
        reference = _Reference.joined([reference for reference, _ in ran])
        of_channels = reference.deviation(*_joined([of_layer for _, of_layer in ran]), slack)
        layer = torch.arange(len(ran)).repeat_interleave(torch.tensor(channels)).to(of_channels.device)
        return of_channels.new_zeros(len(ran)).index_add(0, layer, of_channels)

    def loss(self) -> Tensor:
        """L_bn, the sum over layers: a scalar that can be differentiated with respect to the images."""
        return self.per_layer().sum()

    def absolute_loss(self) -> Tensor:
        """L_bn as ZeroQ and GDFQ have it: mean over layers of the mean squared differences of μ and of σ²."""
        pairs = [(r, m) for r, m in zip(self._references, self._moments, strict=True) if m is not None]
        return torch.stack([reference.squared_difference(*moments) for reference, moments in pairs]).mean()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._moments = [None] * len(self.layers)


def pool_moments(parts: Sequence[Moments], counts: Sequence[int]) -> Moments:
    """The moments of several batches as if they had been one; `counts`: images of each batch."""
    layers = list(zip(*parts, strict=True))
    ran = [index for index, of_batches in enumerate(layers) if None not in of_batches]
    pooled: Moments = [None] * len(layers)
    if not ran:
        return pooled
    joined = [_joined([part[index] for index in ran]) for part in parts]
    means, variances = (torch.stack(moment).double() for moment in zip(*joined, strict=True))
    share = (torch.tensor(counts, dtype=torch.float64) / sum(counts)).to(means.device)
    mean = share @ means
    variance = share @ (variances + (means - mean).square())  # within the batches and between them
    channels = [len(layers[index][0][0]) for index in ran]
    for index, *of_layer in zip(ran, mean.float().split(channels), variance.float().split(channels), strict=True):
        pooled[index] = tuple(of_layer)
    return pooled


def _joined(moments: Sequence) -> tuple[Tensor, Tensor]:
    """Means and variances of the channels of all layers, so that one operation does for them all.

    A GPU takes as long to start an operation on a layer's channels as on those of all.
    """
    mean, variance = (torch.cat(parts) for parts in zip(*moments, strict=True))
    return mean, variance


@dataclass(frozen=True)
class _Reference:
    """What BatchNorm layers remember of their channels, (C,) each.

    Attributes:
        mean, variance: the running statistics.
        deviation_: square root of the variance with `eps`.
        weight: 1 / channels of the layer that are alive; 0 for dead ones.
        eps: of the layer.
    """

    mean: Tensor
    variance: Tensor
    deviation_: Tensor
    weight: Tensor
    eps: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> "_Reference":
        mean, variance = layer.running_mean.detach().float(), layer.running_var.detach().float()
        alive = (variance > SMALLEST_VARIANCE * variance.mean()).float()
        weight, eps = alive / alive.sum().clamp(min=1), torch.full_like(mean, layer.eps)
        return cls(mean, variance, (variance + layer.eps).sqrt(), weight, eps)

    @classmethod
    def joined(cls, references: Sequence["_Reference"]) -> "_Reference":
        """Of all these layers, one after the other."""
        return cls(*(torch.cat([getattr(r, part.name) for r in references]) for part in fields(cls)))

    def deviation(self, mean: Tensor, variance: Tensor, slack: float) -> Tensor:
        """Of each channel, weighted."""
        of_mean = (mean - self.mean) / self.deviation_
        of_spread = (variance + self.eps).sqrt() / self.deviation_ - 1
        beyond = [(difference.abs() - slack).clamp(min=0) for difference in (of_mean, of_spread)]
        return (beyond[0].square() + beyond[1].square()) * self.weight

    def squared_difference(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (mean - self.mean).square().mean() + (variance - self.variance).square().mean()
