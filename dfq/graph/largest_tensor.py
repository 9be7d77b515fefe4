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
    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.numel() > self.most:
                raise ValueError(f"a tensor of {' × '.join(map(str, each.shape))} numbers for one image is too large")
        return result


@torch.no_grad()
def check_largest_tensor(
    network: Callable[[Tensor], Any],
    shape: Sequence[int],
    *,
    is_stated: bool = False,
    settings: LargestTensorSettings = LargestTensorSettings(),
) -> None:
    """Runs a network on images without computing any number.

    Args:
        network: The network.
        shape: Shape of the images (N, C, H, W).
        is_stated: Whether their size is a file's word alone.
        settings: Which tensors are too large.

    Raises:
        ValueError: A tensor would be too large. A network may raise other errors of its own.
    """
    most = settings.most_stated if is_stated else settings.most_numbers
    with silence(), FakeTensorMode(allow_non_fake_inputs=True), _Sizes(most):
        network(torch.zeros(tuple(shape)))
