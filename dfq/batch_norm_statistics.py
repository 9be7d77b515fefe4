"""L_bn: how far a batch's statistics are from those that a network's BatchNorm layers remember.

The usual hooks (`x.mean((0, 2, 3))`, `x.var(...)`) triple the time of a synthesis step: several passes over every
feature map forward, several more backward. Here one autograd function takes both moments in one native pass and adds
their gradient to the one that flows through the network anyway.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Moments = list[tuple[Tensor, Tensor] | None]  # (mean, biased variance) per layer; None: the layer did not run
SMALLEST_VARIANCE = 1e-3  # of a layer's mean variance; a channel below it is dead, and would dominate the loss


def normalization_layers(model: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers with running statistics, in order of registration."""
    kinds = (nn.BatchNorm2d, nn.BatchNorm1d)
    return [m for m in model.modules() if isinstance(m, kinds) and m.running_var is not None]


def channel_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, biased variance), float32 of shape (C,), of features (N, C, …)."""
    if features.device.type == "cpu":
        channels = features.shape[1]  # float32 running statistics make the kernel answer in float32
        return torch.ops.aten.batch_norm_update_stats(
            features.detach(), torch.zeros(channels), torch.ones(channels), 0.0
        )
    dims = [d for d in range(features.dim()) if d != 1]
    variance, mean = torch.var_mean(features.detach().float(), dims, correction=0)
    return mean, variance


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
        affine = torch.nn.functional.batch_norm(  # the native kernel is the fastest affine map per channel
            features, torch.zeros_like(mean), torch.ones_like(mean), factor, offset, False, 0.0, 0.0
        )
        return affine.add_(gradient)


class BatchNormStatistics:
    """Hooks on the BatchNorm layers of `model`; `remove()` takes them off again (see `Teacher.bn_statistics`)."""

    def __init__(self, model: nn.Module):
        self.layers = normalization_layers(model)
        self._references = [_Reference(layer) for layer in self.layers]
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
        pairs = [(r, m) for r, m in zip(self._references, moments, strict=True) if m is not None]
        return torch.stack([reference.deviation(*of_layer, slack) for reference, of_layer in pairs])

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
    share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    return [None if None in of_layer else _pooled(of_layer, share) for of_layer in zip(*parts, strict=True)]


def _pooled(of_batches: Sequence[tuple[Tensor, Tensor]], share: Tensor) -> tuple[Tensor, Tensor]:
    means, variances = (torch.stack(moment).double() for moment in zip(*of_batches, strict=True))
    share = share.to(means.device)
    mean = share @ means
    variance = share @ (variances + (means - mean).square())  # within the batches and between them
    return mean.float(), variance.float()


class _Reference:
    """What one BatchNorm layer remembers: mean, standard deviation, and which channels count."""

    def __init__(self, layer: nn.Module):
        self.mean = layer.running_mean.detach().float()
        variance = self.variance = layer.running_var.detach().float()
        self.deviation_ = (variance + layer.eps).sqrt()
        alive = (variance > SMALLEST_VARIANCE * variance.mean()).float()
        self.weight = alive / alive.sum().clamp(min=1)
        self.eps = layer.eps

    def deviation(self, mean: Tensor, variance: Tensor, slack: float) -> Tensor:
        of_mean = (mean - self.mean) / self.deviation_
        of_spread = (variance + self.eps).sqrt() / self.deviation_ - 1
        beyond = [(difference.abs() - slack).clamp(min=0) for difference in (of_mean, of_spread)]
        return ((beyond[0].square() + beyond[1].square()) * self.weight).sum()

    def squared_difference(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (mean - self.mean).square().mean() + (variance - self.variance).square().mean()
