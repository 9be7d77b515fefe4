"""Loss terms on what a network computes inside, for networks that have no BatchNorm statistics to match."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfq.calibration.inversion_terms import SynthesisStep
from dfq.graph.attention import Attention
from dfq.graph.inner_tensors import InnerTensors


@dataclass(frozen=True)
class Excitation:
    """Pulls up the largest activations of the deep layers.

    It is −log of each channel's largest magnitude on the batch, as a mean over channels and layers. The term is ours:
    deep layers see smaller values on synthetic images than on real ones.

    Attributes:
        weight: Weight of the term.
        share: Part of the layers, from the last one on, that counts as deep, in (0, 1].
    """

    weight: float
    share: float = 0.5
    needs_inner = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        pairs = list(zip(inside(step).layers, inside(step).channels, strict=True))
        if not pairs:
            return None
        deep = pairs[-math.ceil(self.share * len(pairs)) :]
        peaks = [layer.float().movedim(axis, 0).flatten(1).abs().amax(1) for layer, axis in deep]
        return -self.weight * torch.stack([(peak + 1e-6).log().mean() for peak in peaks]).mean()


@dataclass(frozen=True)
class PatchEntropy:
    """Lets the patches of an image differ: −(differential entropy of their similarity), summed over the attentions.

    Li et al., PSAQ-ViT, ECCV 2022: similarity is the cosine between what the attention gives for two patches, as a mean
    over heads; its density is estimated with Gaussian kernels and integrated over a few points.

    Attributes:
        weight: Weight of the term.
        points: Number of points of the integral, from the smallest similarity to the largest.
        patches: Largest number of patches of an image that are compared, drawn at random; all of them as published.
    """

    weight: float
    points: int = 10
    patches: int = 64
    needs_inner = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        entropies = [self._entropy(attention, step.generator) for attention in inside(step).attention]
        return -self.weight * torch.stack(entropies).sum() if entropies else None

    def _entropy(self, attention: Attention, generator: torch.Generator) -> Tensor:
        given = (attention.probabilities @ attention.values).mean(1)  # (N, Q, D)
        given = given[:, given.shape[1] - grid_side(given.shape[1]) ** 2 :]
        picked = torch.randperm(given.shape[1], generator=generator)[: self.patches]
        unit = normalize(given[:, picked.to(given.device)], dim=2)
        similarity = (unit @ unit.transpose(1, 2)).flatten(1)  # (N, patches²)
        low, high = similarity.detach().aminmax(dim=1)
        places = torch.linspace(0, 1, self.points, device=given.device)
        places = low[:, None] + (high - low)[:, None] * places  # (N, points)
        width = 1.06 * similarity.detach().std(1).clamp(min=1e-4) * similarity.shape[1] ** -0.2  # Silverman's rule
        distance = (places[:, :, None] - similarity[:, None, :]) / width[:, None, None]
        density = torch.exp(-0.5 * distance.square()).mean(2) / (width[:, None] * math.sqrt(2 * math.pi))
        return torch.trapezoid(-density * density.clamp(min=1e-12).log(), places, dim=1).mean()


@dataclass(frozen=True)
class HeadSimilarity:
    """Lets the heads of an attention look at the same places: 1 − SSIM² between the maps of two heads.

    Choi et al., MimiQ, 2024, arXiv 2407.20021: each query's attention, stretched to [0, 1], is a map; SSIM has one
    window, which is the whole map. Deviation: probabilities stand for their logarithms.

    Attributes:
        weight: Weight of the term.
        stabilizers: SSIM's constants, which keep the quotients finite.
    """

    weight: float
    stabilizers: tuple[float, float] = (1e-4, 9e-4)
    needs_inner = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        found = [a.probabilities for a in inside(step).attention if a.probabilities.shape[1] > 1]
        if not found:
            return None
        return self.weight * torch.stack([self._difference(probabilities) for probabilities in found]).mean()

    def _difference(self, probabilities: Tensor) -> Tensor:
        low, high = probabilities.amin(3, keepdim=True), probabilities.amax(3, keepdim=True)
        maps = (probabilities - low) / (high - low).clamp(min=1e-6)  # (N, heads, Q, K)
        mean, variance = maps.mean(3), maps.var(3, correction=0)
        first, second = self.stabilizers
        values = []
        for a, b in itertools.combinations(range(maps.shape[1]), 2):
            covariance = (maps[:, a] * maps[:, b]).mean(2) - mean[:, a] * mean[:, b]
            level = (2 * mean[:, a] * mean[:, b] + first) / (mean[:, a] ** 2 + mean[:, b] ** 2 + first)
            shape = (2 * covariance + second) / (variance[:, a] + variance[:, b] + second)
            values.append((1 - (level * shape) ** 2).mean())
        return torch.stack(values).mean()


@dataclass(frozen=True)
class AttentionPrior:
    """Gives each head places to look at: the squared distance of its attention to a random mixture of Gaussians.

    Zhong et al., SARDFQ, ICCV 2025, arXiv 2412.16553: the attention of the class token to the patches, in the deeper
    half of the blocks, which count the more the deeper they are. Where there is no class token, it is the mean over all
    queries. The mixtures of a batch stay the same while it is optimised.

    Attributes:
        weight: Weight of the term.
        components: Number of Gaussians of a mixture.
        widths: Least and largest standard deviation of a Gaussian, as a part of the side of the grid of patches.
        share: Part of the attentions, from the last one on, that counts as deep, in (0, 1].
    """

    weight: float
    components: int = 5
    widths: tuple[float, float] = (0.05, 0.25)
    share: float = 0.5
    needs_inner = True

    def __call__(self, step: SynthesisStep) -> Tensor | None:
        found = inside(step).attention
        generator = torch.Generator().manual_seed(step.seed)
        losses = []
        for index in range(len(found) - math.ceil(self.share * len(found)), len(found)):
            probabilities = found[index].probabilities
            side = grid_side(probabilities.shape[3])
            others = probabilities.shape[3] - side**2  # the class token, and other tokens that are no patches
            looks = probabilities[:, :, 0] if others else probabilities.mean(2)  # (N, heads, K)
            looks = looks[:, :, others:] / looks[:, :, others:].sum(2, keepdim=True)
            wanted = self._mixtures(looks.shape[0] * looks.shape[1], side, generator).view(*looks.shape[:2], -1)
            squares = (looks - wanted.to(looks.device)).square().mean(2).sum(1).mean()
            losses.append((index + 1) / len(found) * squares * side**4)  # in units of an even attention
        return self.weight * torch.stack(losses).sum() if losses else None

    def _mixtures(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Returns maps (count, side²) whose sum is 1."""
        centres = side * torch.rand(count, self.components, 2, 1, generator=generator)
        low, high = self.widths
        widths = side * (low + (high - low) * torch.rand(count, self.components, 2, 1, generator=generator))
        places = torch.arange(side) + 0.5
        along = torch.exp(-0.5 * ((places - centres) / widths).square())  # (count, components, 2, side)
        maps = (along[:, :, 0, :, None] * along[:, :, 1, None, :]).sum(1).flatten(1)
        return maps / maps.sum(1, keepdim=True)


def inside(step: SynthesisStep) -> InnerTensors:
    """Returns what the teacher computed inside, which is there for a term that needs it."""
    assert step.inner is not None
    return step.inner


def grid_side(tokens: int) -> int:
    """Returns the side of the largest square grid of patches that so many tokens hold; the first tokens are others."""
    return math.isqrt(tokens)
