"""A checkpoint file → a network with its weights, its architecture's name and its input."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dfq.checkpoint.arch import PICKLED, build_with_weights
from dfq.checkpoint.checks import check_weights
from dfq.checkpoint.files import read_file
from dfq.checkpoint.input import check_forward, resolve_input_spec
from dfq.checkpoint.weights import find_contents
from dfq.input_spec import InputSpec
from dfq.models.registry import published_input_spec


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
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    allow_pickle: bool = False,
) -> Loaded:
    """Reads a checkpoint; what the caller passes goes before what the file says.

    Args:
        path: a dict with `arch` and `state_dict`, a bare state dict, `.safetensors`, or `.pt2` of torch.export.
        arch: as in `dfq.models.registry.build`; needed where the file does not say it.
        input_size: (channels, height, width) of the images.
        mean, std: per channel, for pixels in [0, 1].
        allow_pickle: unpickle files that hold Python objects. This runs code from the file.

    Raises:
        DfqError: for every file that is not a whole checkpoint of an image classifier.
    """
    file = Path(path)
    contents = find_contents(*read_file(file, allow_pickle=allow_pickle))
    check_weights(contents.weights)
    model, name, assumed = build_with_weights(contents, arch, file)
    model = model.float().cpu().eval()
    flags = {"size": input_size, "mean": mean, "std": std}
    published = None if name.startswith(PICKLED) else published_input_spec(name)
    input_spec, guessed = resolve_input_spec(flags, contents.metadata, published, name)
    check_forward(model, input_spec)
    return Loaded(model, name, input_spec, assumed + guessed)
