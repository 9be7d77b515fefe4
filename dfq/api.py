"""The Python API: `dfq.quantize` and `dfq.load`."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from dfq.checkpoint import describe_network, load_checkpoint
from dfq.labelled import read_labelled
from dfq.pipeline import Result, quantize_model
from dfq.progress import Progress
from dfq.run_folder import load_run as load
from dfq.settings import Settings
from dfq.teacher import Teacher

__all__ = ["load", "load_teacher", "quantize"]


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


def quantize(
    model: str | Path | nn.Module,
    *,
    out: str | Path,
    arch: str | None = None,
    input_size: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    weights: str | None = None,
    device: str = "cpu",
    allow_pickle: bool = False,
    data: str | Path | None = None,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings,
) -> Result:
    """Quantizes a network without data: what the command `dfq quantize` does.

    Args:
        model: a checkpoint, published weights by name (`torchvision/resnet18`), or a network in memory (then
            `input_size`, `mean`, `std` are needed, unless its class is of torchvision or timm).
        arch, input_size, mean, std, weights, allow_pickle: as in `dfq.checkpoint.load_checkpoint`.
        out: the run folder to write.
        data: labelled images (folder of classes or `.npz`), used for nothing but the report.
        strict: raise `DfqError` before any work where less than 90 % of the multiply–accumulates would be on integers,
            or a layer with weights was not recognised.
        settings: the fields of `dfq.settings.Settings`: `bits`, `scheme`, `method`, `steps`, `budget`, `seed`, …

    Raises:
        DfqError: one error for anything that does not fit; nothing half-written is left.
    """
    chosen = Settings(**settings)
    teacher, name, assumed = load_teacher(
        model, arch=arch, input_size=input_size, mean=mean, std=std, weights=weights, device=device,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    labelled = read_labelled(data, teacher.input_spec, teacher.num_classes) if data is not None else None
    return quantize_model(
        teacher, out, chosen, arch=name, assumed=assumed, labelled=labelled,
        strict=strict, resume=resume, overwrite=overwrite, progress=progress,
    )  # fmt: skip
