"""Contrast between two networks' features of the same images: InfoNCE, also where the features differ in width."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

TEMPERATURE = 0.07


def directions(features: Tensor, width: int) -> Tensor:
    """Features (N, D) as unit vectors (N, width), float32; through a fixed random projection where D is not `width`.

    Fixed: the same numbers in every step and every run. (AdaDFKD's released code draws a new projection at each step,
    so that the features of two steps cannot be compared.) A Gaussian matrix keeps angles, on average.
    """
    features = features.float()
    if features.shape[1] != width:
        features = features @ _projection(features.shape[1], width).to(features.device)
    return normalize(features, dim=1)


@lru_cache(maxsize=8)
def _projection(inputs: int, outputs: int) -> Tensor:
    return torch.randn(inputs, outputs, generator=torch.Generator().manual_seed(0)) / outputs**0.5


def info_nce(similarities: Tensor, positives: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """−log of the softmax of similarities / temperature at the positive one, of each query: (N,), in nats.

    Args:
        similarities: cosines of each query with its positive and its negatives, (N, M).
        positives: column of the positive one, int64 (N,).
    """
    return cross_entropy(similarities / temperature, positives, reduction="none")
