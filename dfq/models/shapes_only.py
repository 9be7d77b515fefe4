"""Building a network for its names and shapes alone: no memory for weights, and no time to initialise them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_}
INITIALISERS = "torch.nn.init"


class _Unfilled(TorchFunctionMode):
    """Leaves out what only writes values: on the meta device it takes most of the time, and does nothing."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in FILLS or _initialises(function):
            return args[0] if args else kwargs.get("tensor")
        return function(*args, **kwargs)


def _initialises(function) -> bool:
    return getattr(function, "__module__", "") == INITIALISERS and function.__name__.endswith("_")


@contextmanager
def shapes_only() -> Iterator[None]:
    """Networks that are built inside have tensors without data."""
    with torch.device("meta"), _Unfilled():
        yield
