"""Relations between samples: distances, weighted draws of negatives, triplet losses (RGAL).

RGAL is by Liang & Fu, IJCV 2025, arXiv 2412.11380; distance weighted sampling is by Wu et al., ICCV 2017, arXiv
1706.07567. Deviations: eligible negatives are masked *before* the weights are shifted by their maximum (shifting first
lets all of them underflow in float32), and the dimension that enters the density is capped: the inverse density of a
512-dimensional sphere is so steep that "weighted" becomes "nearest eligible".
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.functional import normalize

FURTHEST = 1.99  # Distances count as no larger than this, because the density has a pole at 2.


@dataclass(frozen=True, kw_only=True)
class NegativeSampling:
    """How a negative m of anchor a is drawn: P(m|a) ∝ w(max(d_am, floor)) where nearest < d_am < furthest.

    Attributes:
        nearest: Lower end of the open range of eligible distances between unit vectors, which are in [0, 2].
        furthest: Upper end of that range.
        floor: Distance up to which all distances weigh the same.
        weighted: Whether w is 1 / density of distances on the sphere; if not, all eligible negatives are equally
            likely.
        dimension_cap: Largest dimension that the density is computed for.
    """

    nearest: float = -inf
    furthest: float = inf
    floor: float = 1e-3
    weighted: bool = True
    dimension_cap: int = 64


FOCAL_WEIGHTED = NegativeSampling(nearest=0.5, furthest=1.0)
"""Sampling of the synthesis phase: not so near that confusion kills diversity, not so far that it teaches nothing."""
DISTANCE_WEIGHTED = NegativeSampling(furthest=1.4, floor=0.5)
"""Sampling of the student phase."""
UNIFORM = NegativeSampling(weighted=False)
"""Sampling in which every sample with another label is equally likely: the control arm."""


@dataclass(frozen=True)
class Triplets:
    """Triplets of samples of a batch.

    Attributes:
        anchors: Indices of the anchors, (M,).
        positives: Indices of other samples with the anchors' labels, (M,).
        negatives: Indices of samples with other labels, (M,).
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor

    def __len__(self) -> int:
        return len(self.anchors)


def pairwise_distances(features: Tensor) -> Tensor:
    """Returns the distances (B, B) in [0, 2] between the directions of features (B, n); float32, differentiable."""
    unit = normalize(features.float(), dim=1)
    squared = (2 - 2 * unit @ unit.T).clamp(min=1e-6)  # The root's gradient is infinite at 0.
    return squared.sqrt()


def log_inverse_density(distances: Tensor, dimension: int) -> Tensor:
    """Returns log w(d) = (2 − n)·log d − ((n − 3)/2)·log(1 − d²/4), up to a constant, for distances d of any shape.

    1/w is the density of the distance between two uniform points on the unit sphere in n dimensions.
    """
    distances = distances.clamp(max=FURTHEST)
    return (2 - dimension) * distances.log() - (dimension - 3) / 2 * (1 - distances.square() / 4).log()


@torch.no_grad()
def draw_triplets(
    features: Tensor, labels: Tensor, sampling: NegativeSampling, generator: torch.Generator | None = None
) -> Triplets:
    """Draws one negative for every ordered pair of different samples with equal labels.

    An anchor without eligible negatives draws uniformly from all samples with another label. An anchor without any such
    sample gives no triplet. So a batch with a single label, or with nothing but different ones, gives none at all.

    Args:
        features: Features of any scale, (B, n).
        labels: Labels, int64 (B,).
        sampling: How negatives are drawn.
        generator: Source of the random numbers; None: torch's own.
    """
    distances = pairwise_distances(features)
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive &= ~same.all(1, keepdim=True)
    anchors, positives = positive.nonzero(as_tuple=True)
    if not len(anchors):
        return Triplets(anchors, positives, anchors)
    chances = _chances(distances, ~same, sampling, features.shape[1])
    draws = _draw(chances, int(positive.sum(1).max()), generator)
    order = positive.cumsum(1)[anchors, positives] - 1  # The place of each positive among those of its anchor.
    return Triplets(anchors, positives, draws[anchors, order])


def _chances(distances: Tensor, different: Tensor, sampling: NegativeSampling, dimension: int) -> Tensor:
    """Returns the probability (B, B) with which each anchor, a row, draws each negative."""
    eligible = different & (distances > sampling.nearest) & (distances < sampling.furthest)
    stranded = ~eligible.any(1, keepdim=True)
    eligible = torch.where(stranded, different, eligible)
    weights = torch.zeros_like(distances)
    if sampling.weighted:
        capped = min(dimension, sampling.dimension_cap)
        weights = log_inverse_density(distances.clamp(min=sampling.floor), capped) * (~stranded)
    return weights.masked_fill(~eligible, -inf).softmax(1).nan_to_num(0.0)


def _draw(chances: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draws indices (B, count) with replacement by inverting the cumulated chances, on the CPU, as the generator is."""
    bounds = chances.cpu().double().cumsum(1)
    points = torch.rand(len(chances), count, dtype=torch.float64, generator=generator) * bounds[:, -1:]
    return torch.searchsorted(bounds, points, right=True).clamp(max=chances.shape[1] - 1).to(chances.device)


def triplet_loss(
    features: Tensor,
    triplets: Triplets,
    *,
    margin: float = 0.2,
    swapped: bool = False,
    reference: Tensor | None = None,
) -> Tensor:
    """Returns the mean of max(0, D(a, p) − D(a, m) + margin), which pulls same labels together and pushes others apart.

    Args:
        features: Features (B, n).
        triplets: Triplets of these samples.
        margin: Distance by which negatives are to be further away than positives.
        swapped: Whether p and m exchange their roles, the direction of RGAL's synthesis phase. Negating the loss is not
            the same, because it would clip on the wrong side.
        reference: Features (B, k) of the same samples, whose own D(a, p) − D(a, m) is subtracted: the loss then asks
            for a margin that is wider than theirs by `margin`, and not for one that they do not have either. This form
            is ours.

    Returns:
        A scalar; it is 0, with a gradient of 0, where there is no triplet.
    """
    if not len(triplets):
        return features.float().sum() * 0.0
    violation = _violation(features, triplets, swapped=swapped)
    if reference is not None:
        violation = violation - _violation(reference, triplets, swapped=swapped)
    return (violation + margin).clamp(min=0).mean()


def _violation(features: Tensor, triplets: Triplets, *, swapped: bool) -> Tensor:
    """Returns D(a, p) − D(a, m) of each triplet, (M,); with the roles exchanged, D(a, m) − D(a, p)."""
    distances = pairwise_distances(features)
    to_positive = distances[triplets.anchors, triplets.positives]
    to_negative = distances[triplets.anchors, triplets.negatives]
    return to_negative - to_positive if swapped else to_positive - to_negative


@torch.no_grad()
def active_share(features: Tensor, triplets: Triplets, *, margin: float = 0.2) -> float:
    """Returns the share of the triplets whose loss is above 0, in [0, 1]; NaN where there is no triplet."""
    return float((_violation(features, triplets, swapped=False) + margin > 0).float().mean())


@torch.no_grad()
def mean_distances(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Returns the mean distance between samples of one label, and of different labels; NaN where there is no pair.

    Args:
        features: Features of any scale, (B, n).
        labels: Labels, int64 (B,).
    """
    distances, same = pairwise_distances(features), labels[:, None] == labels[None, :]
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return float(distances[same & others].mean()), float(distances[~same].mean())
