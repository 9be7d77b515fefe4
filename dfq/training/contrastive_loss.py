"""Contrast between two networks' features of the same images: InfoNCE, also where the features differ in width."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def directions(features: Tensor, width: int) -> Tensor:
    """Returns features (N, D) as unit vectors (N, width), float32, by a fixed random projection if D is not `width`.

    The projection is the same in every step and every run. (AdaDFKD's released code draws a new one at each step, so
    that the features of two steps cannot be compared.) A Gaussian matrix keeps angles, on average.
    """
    features = features.float()
    if features.shape[1] != width:
        features = features @ _projection(features.shape[1], width).to(features.device)
    return normalize(features, dim=1)


@lru_cache(maxsize=8)
def _projection(inputs: int, outputs: int) -> Tensor:
    return torch.randn(inputs, outputs, generator=torch.Generator().manual_seed(0)) / outputs**0.5


def info_nce(similarities: Tensor, positives: Tensor, temperature: float = 0.07) -> Tensor:
    """Returns −log of the softmax of similarities / temperature at the positive of each query: (N,), in nats.

    Args:
        similarities: Cosines of each query with its positive and its negatives, (N, M).
        positives: Column of the positive of each query, int64 (N,).
        temperature: Temperature of the softmax.
    """
    return cross_entropy(similarities / temperature, positives, reduction="none")
