"""Images that a run has stored are checked when they are read again."""

from typing import Any

import torch
from torch import Tensor

from dfq.images.input_spec import InputSpec

FEWEST = 2  # one to train on, and one to hold out


def check_stored(images: Any, labels: Any, input_spec: InputSpec) -> None:
    """Raises `ValueError` where these are no pixels, uint8 (N, C, H, W), and no labels, int64 (N,) or None."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.shape[1:] != torch.Size(input_spec.size):
        raise ValueError(f"'images' are {_described(images)}")
    if len(images) < FEWEST:
        raise ValueError(f"it holds {len(images)} images")
    if labels is None:
        return
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"'labels' are {_described(labels)}")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
