"""Builds networks for their names and shapes only, without memory for weights or time to initialise them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_}
INITIALISERS = "torch.nn.init"


class _Unfilled(TorchFunctionMode):
    """A mode that leaves out calls that only write values.

    On the meta device, they take most of the time and do nothing.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in FILLS or _initialises(function):
            return args[0] if args else kwargs.get("tensor")
        return function(*args, **kwargs)


def _initialises(function) -> bool:
    return getattr(function, "__module__", "") == INITIALISERS and function.__name__.endswith("_")


@contextmanager
def shapes_only() -> Iterator[None]:
    """Gives networks that are built inside this context tensors without data."""
    with torch.device("meta"), _Unfilled():
        yield
