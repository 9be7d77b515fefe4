"""L_bn: how far a batch's statistics are from those that a network's BatchNorm layers store.

The usual hooks (`x.mean((0, 2, 3))`, `x.var(...)`) triple the time of a synthesis step, because they pass over every
feature map several times forward and several times backward. Here one autograd function computes both moments in one
native pass, and adds their gradient to the one that flows through the network anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from dfq.teacher.settings import BatchNormSettings

Moments = list[tuple[Tensor, Tensor] | None]  # Mean and biased variance of each layer; None: the layer did not run.
EPS = 2.0**-16  # float32 holds 1 − EPS exactly.


def normalization_layers(model: nn.Module) -> list[nn.Module]:
    """Returns the BatchNorm layers with running statistics, in order of registration."""
    kinds = (nn.BatchNorm2d, nn.BatchNorm1d)
    return [m for m in model.modules() if isinstance(m, kinds) and m.running_var is not None]


def channel_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and biased variance, both float32 (C,), of features (N, C, …)."""
    if features.device.type not in ("cpu", "cuda"):  # Other devices may lack the kernel below.
        dims = [d for d in range(features.dim()) if d != 1]
        variance, mean = torch.var_mean(features.detach().float(), dims, correction=0)
        return mean, variance
    running = torch.zeros(features.shape[1], device=features.device)  # The result has its type, float32.
    return torch.ops.aten.batch_norm_update_stats(features.detach(), running, running.clone(), 0.0)


class _Moments(torch.autograd.Function):
    """Returns features, their mean and their variance.

    The gradients of the moments are added to that of the features in one pass.
    """

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
        # ∂mean/∂x = 1/n and ∂variance/∂x = 2 (x − mean)/n; together they are an affine map of x per channel.
        factor = gradient_variance * (2 / count)
        offset = gradient_mean / count - factor * mean
        variance = torch.full_like(mean, 1 - EPS)  # torch 2.11 refuses an eps of 0.
        affine = torch.nn.functional.batch_norm(  # The native kernel is the fastest affine map per channel.
            features, torch.zeros_like(mean), variance, factor, offset, eps=EPS
        )
        return affine.add_(gradient)


class BatchNormStatistics:
    """Hooks on the BatchNorm layers of `model`; `remove()` takes them off again (see `Teacher.bn_statistics`)."""

    def __init__(self, model: nn.Module, *, settings: BatchNormSettings = BatchNormSettings()):
        self.layers = normalization_layers(model)
        self._references = [_Reference.of(layer, settings.smallest_variance) for layer in self.layers]
        self._moments: Moments = [None] * len(self.layers)
        self._handles = [layer.register_forward_pre_hook(self._hook(index)) for index, layer in enumerate(self.layers)]

    def _hook(self, index: int):
        def record(module, inputs):
            features, mean, variance = _Moments.apply(inputs[0])
            self._moments[index] = (mean, variance)
            return (features,)

        return record

    def per_layer(self) -> Tensor:
        """Returns the deviation of each layer's input in the last forward pass, float32 (layers,).

        It is the mean over channels of ((μ − μ̂)/σ̂)² + (σ/σ̂ − 1)². Being relative, it weighs layers and channels alike,
        unlike the plain distances of ZeroQ and DeepInversion. Channels whose running variance is about 0 are left out.
        """
        return self.deviations(self._moments)

    @property
    def moments(self) -> Moments:
        """Mean and variance of each layer's input in the last forward pass."""
        return list(self._moments)

    def deviations(self, moments: Moments, *, slack: float = 0.0) -> Tensor:
        """Returns `per_layer()` for other moments, such as those of many batches (`pool_moments`).

        Args:
            slack: Part of each channel's standard deviation up to which a difference counts as none.
        """
        ran = [(r, m) for r, m in zip(self._references, moments, strict=True) if m is not None]
        channels = [len(reference.mean) for reference, _ in ran]
        reference = _Reference.joined([reference for reference, _ in ran])
        of_channels = reference.deviation(*_joined([of_layer for _, of_layer in ran]), slack)
        layer = torch.arange(len(ran)).repeat_interleave(torch.tensor(channels)).to(of_channels.device)
        return of_channels.new_zeros(len(ran)).index_add(0, layer, of_channels)

    def loss(self) -> Tensor:
        """Returns L_bn, the sum over layers: a scalar that is differentiable with respect to the images."""
        return self.per_layer().sum()

    def mean_squared_loss(self) -> Tensor:
        """Returns L_bn of GDFQ: the mean over layers of the mean squared differences of μ and of σ²."""
        return torch.stack([reference.mean_squared_difference(*moments) for reference, moments in self._ran()]).mean()

    def squared_norm_loss(self) -> Tensor:
        """Returns L_bn of ZeroQ: the sum over layers of ‖μ − μ̂‖² + ‖σ − σ̂‖², where norms go over the channels."""
        return torch.stack([reference.squared_norms(*moments) for reference, moments in self._ran()]).sum()

    def norm_loss(self) -> Tensor:
        """Returns L_bn of DeepInversion, CMI and RGAL: the sum over layers of ‖μ − μ̂‖ + ‖σ² − σ̂²‖."""
        return torch.stack([reference.norms(*moments) for reference, moments in self._ran()]).sum()

    def _ran(self) -> list[tuple["_Reference", tuple[Tensor, Tensor]]]:
        """Returns the layers that ran in the last forward pass, with their moments."""
        return [(r, m) for r, m in zip(self._references, self._moments, strict=True) if m is not None]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._moments = [None] * len(self.layers)


def pool_moments(parts: Sequence[Moments], counts: Sequence[int]) -> Moments:
    """Returns the moments that several batches would have as one batch.

    Args:
        parts: The moments of each batch.
        counts: Number of images of each batch.
    """
    layers = list(zip(*parts, strict=True))
    ran = [index for index, of_batches in enumerate(layers) if None not in of_batches]
    pooled: Moments = [None] * len(layers)
    if not ran:
        return pooled
    joined = [_joined([part[index] for index in ran]) for part in parts]
    means, variances = (torch.stack(moment).double() for moment in zip(*joined, strict=True))
    share = (torch.tensor(counts, dtype=torch.float64) / sum(counts)).to(means.device)
    mean = share @ means
    variance = share @ (variances + (means - mean).square())  # It is the variance within batches and between them.
    channels = [len(layers[index][0][0]) for index in ran]
    for index, *of_layer in zip(ran, mean.float().split(channels), variance.float().split(channels), strict=True):
        pooled[index] = tuple(of_layer)
    return pooled


def _joined(moments: Sequence) -> tuple[Tensor, Tensor]:
    """Joins the means and the variances of the channels of all layers, so that one operation is enough for all.

    A GPU takes as long to start an operation on the channels of one layer as on those of all layers.
    """
    mean, variance = (torch.cat(parts) for parts in zip(*moments, strict=True))
    return mean, variance


@dataclass(frozen=True)
class _Reference:
    """What BatchNorm layers store about their channels, (C,) each.

    Attributes:
        mean, variance: The running statistics.
        deviation_: Square root of the sum of `variance` and `eps`.
        weight: 1 divided by the number of living channels of the layer; 0 for dead channels.
        eps: The epsilon of the layer.
    """

    mean: Tensor
    variance: Tensor
    deviation_: Tensor
    weight: Tensor
    eps: Tensor

    @classmethod
    def of(cls, layer: nn.Module, smallest_variance: float) -> "_Reference":
        mean, variance = layer.running_mean.detach().float(), layer.running_var.detach().float()
        alive = (variance > smallest_variance * variance.mean()).float()
        weight, eps = alive / alive.sum().clamp(min=1), torch.full_like(mean, layer.eps)
        return cls(mean, variance, (variance + layer.eps).sqrt(), weight, eps)

    @classmethod
    def joined(cls, references: Sequence["_Reference"]) -> "_Reference":
        """Joins the channels of all these layers, one layer after the other."""
        return cls(*(torch.cat([getattr(r, part.name) for r in references]) for part in fields(cls)))

    def deviation(self, mean: Tensor, variance: Tensor, slack: float) -> Tensor:
        """Returns the weighted deviation of each channel."""
        of_mean = (mean - self.mean) / self.deviation_
        of_spread = (variance + self.eps).sqrt() / self.deviation_ - 1
        beyond = [(difference.abs() - slack).clamp(min=0) for difference in (of_mean, of_spread)]
        return (beyond[0].square() + beyond[1].square()) * self.weight

    def mean_squared_difference(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (mean - self.mean).square().mean() + (variance - self.variance).square().mean()

    def norms(self, mean: Tensor, variance: Tensor) -> Tensor:
        return (mean - self.mean).norm() + (variance - self.variance).norm()

    def squared_norms(self, mean: Tensor, variance: Tensor) -> Tensor:
        spread = (variance + self.eps).sqrt() - self.deviation_
        return (mean - self.mean).square().sum() + spread.square().sum()
