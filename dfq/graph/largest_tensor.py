"""Refuses networks that make tensors which no memory holds, before they compute anything."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dfq.graph.settings import LargestTensorSettings
from dfq.graph.silence import silence


class _Sizes(TorchDispatchMode):
    def __init__(self, settings: LargestTensorSettings):
        super().__init__()
        self.settings = settings

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.numel() > self.settings.most_numbers:
                raise ValueError(f"a tensor of {' × '.join(map(str, each.shape))} numbers in it is too large")
        return result


@torch.no_grad()
def check_largest_tensor(
    network: Callable[[Tensor], Any],
    shape: Sequence[int],
    *,
    settings: LargestTensorSettings = LargestTensorSettings(),
) -> None:
    """Runs a network on images of that shape (N, C, H, W) without computing any number.

    Raises:
        ValueError: A tensor would be too large. A network may raise other errors of its own.
    """
    with silence(), FakeTensorMode(allow_non_fake_inputs=True), _Sizes(settings):
        network(torch.zeros(tuple(shape)))
