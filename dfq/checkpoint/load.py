"""A checkpoint file → a network with its weights, its architecture's name and its input."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dfq.checkpoint.arch import PICKLED, build_with_weights
from dfq.checkpoint.checks import check_weights
from dfq.checkpoint.files import read_file
from dfq.checkpoint.folder import read_folder
from dfq.checkpoint.input import check_forward, resolve_input_spec
from dfq.checkpoint.published import is_published_name, read_published
from dfq.checkpoint.weights import Contents, find_contents
from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models.own_input import own_input
from dfq.models.registry import published_input_spec
from dfq.models.timm_config import is_hub_name


@dataclass(frozen=True)
class Loaded:
    """A network read from a file.

    Attributes:
        model: evaluation mode, float32, on the CPU.
        arch: full name of the architecture (`torchvision/resnet18`, `net.py:factory`, `pickle/MyNet`, `model.pt2`).
        input_spec: size and normalisation of its images.
        assumed: a plain sentence for everything that neither the file nor the caller told.
    """

    model: nn.Module
    arch: str
    input_spec: InputSpec
    assumed: tuple[str, ...]


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    input_size: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    weights: str | None = None,
    allow_pickle: bool = False,
) -> Loaded:
    """Reads a checkpoint; what the caller passes goes before what the file says.

    Args:
        path: a dict with `arch` and `state_dict`, a bare state dict, `.safetensors`, `.pt2` of torch.export; a folder
            of timm's `save_pretrained`; or, where no file has that name, published weights: `torchvision/resnet18`,
            `timm/resnet18.a1_in1k`, `hf-hub:OWNER/NAME`. Only these may be fetched from the network.
        arch: as in `dfq.models.registry.build`; needed where the file does not say it.
        input_size: (channels, height, width) of the images.
        mean, std: per channel, for pixels in [0, 1]; one number stands for all channels.
        weights: which of several weights in the file: a key (`state_dict`, `model.ema`), or the first part of the
            names inside (`student`). None: the averaged ones (EMA), else the only ones.
        allow_pickle: unpickle files that hold Python objects. This runs code from the file.

    Raises:
        DfqError: for every file that is not a whole checkpoint of an image classifier.
    """
    file = Path(path)
    contents = _read(file, arch, weights, allow_pickle)
    check_weights(contents.weights)
    model, name, assumed = build_with_weights(contents, arch, file)
    model = model.float().cpu().eval()
    flags = {"size": input_size, "mean": mean, "std": std}
    published, whose = _published(model, arch, name)
    input_spec, guessed = resolve_input_spec(flags, contents.metadata, published, whose)
    check_forward(model, input_spec)
    return Loaded(model, name, input_spec, (*contents.assumed, *assumed, *guessed))


def _read(file: Path, arch: str | None, weights: str | None, allow_pickle: bool) -> Contents:
    name = file.as_posix()
    if is_published_name(name) and not file.exists():
        if arch is not None or weights is not None:
            option = "--arch" if arch is not None else "--weights"
            raise DfqError(
                f"{option} beside the published weights '{name}'",
                "a checkpoint file, or published weights, which say themselves what they are",
                f"leave {option} out",
            )
        return read_published(name)
    if file.is_dir():
        inside, stated = read_folder(file, arch)
        content, metadata = read_file(inside, allow_pickle=allow_pickle)
        return find_contents(content, {**metadata, **stated}, weights)
    return find_contents(*read_file(file, allow_pickle=allow_pickle), weights)


def _published(model: nn.Module, arch: str | None, name: str) -> tuple[InputSpec | None, str]:
    """What is published of the network's input, and whose it is."""
    if name.startswith(PICKLED):
        return own_input(model) or (None, name)
    asked = arch if arch is not None and is_hub_name(arch) else name
    return published_input_spec(asked), asked
