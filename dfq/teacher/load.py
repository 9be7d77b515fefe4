"""`load_teacher`: a checkpoint, published weights or a network in memory becomes a `Teacher`."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from dfq.checkpoint import describe_network, load_checkpoint
from dfq.teacher.teacher import Teacher


def load_teacher(
    model: str | Path | nn.Module,
    *,
    arch: str | None = None,
    input_size: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    weights: str | None = None,
    device: str = "cpu",
    allow_pickle: bool = False,
) -> tuple[Teacher, str | None, tuple[str, ...]]:
    """(teacher, architecture name, what was assumed) of a checkpoint, published weights or a network in memory.

    Raises:
        DfqError: see `dfq.checkpoint.load_checkpoint`; a network in memory needs `input_size`, `mean` and `std`, unless
            its class is of torchvision or timm.
    """
    if isinstance(model, nn.Module):
        network, spec, assumed = describe_network(model, input_size=input_size, mean=mean, std=std)
        return Teacher(network, spec, device), arch, assumed
    loaded = load_checkpoint(
        model, arch=arch, input_size=input_size, mean=mean, std=std, weights=weights, allow_pickle=allow_pickle
    )
    return Teacher(loaded.model, loaded.input_spec, device), loaded.arch, loaded.assumed
