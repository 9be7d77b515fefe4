"""Reads a checkpoint file into a network with its weights, the name of its architecture, and its input."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from torch import nn

from dfq.checkpoint.arch import PICKLED, build_with_weights
from dfq.checkpoint.checks import check_weights
from dfq.checkpoint.files import CHECKPOINT, FROM_ONNX, SAVE_AGAIN, read_file
from dfq.checkpoint.folder import read_folder
from dfq.checkpoint.input import check_forward, resolve_input_spec
from dfq.checkpoint.published import is_published_name, read_published
from dfq.checkpoint.weights import Contents, find_contents
from dfq.errors import DfqError
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.onnx_file.read import ASSUMED, CHANNELS_LAST
from dfq.models.own_input import own_input
from dfq.models.registry import published_input_spec
from dfq.models.timm_config import is_hub_name
from dfq.system.reading import reading

OF_ONNX = (
    "mean and std of ImageNet: an ONNX file does not say what its images are normalised by, and where that is "
    "something else the synthetic images are wrong; --mean 0 --std 1 stands for pixels from 0 to 1"
)
ROWS_FIRST = (
    "that images (N, channels, height, width) will do: the file takes (N, height, width, channels), and the files that "
    "dfq writes do not"
)


@dataclass(frozen=True)
class Loaded:
    """A network read from a file.

    Attributes:
        model: The network in evaluation mode, float32, on the CPU.
        arch: Full name of the architecture (`torchvision/resnet18`, `net.py:factory`, `pickle/MyNet`, `model.pt2`).
        input_spec: Size and normalisation of its images.
        assumed: A sentence for everything that neither the file nor the caller said.
    """

    model: nn.Module
    arch: str
    input_spec: InputSpec
    assumed: tuple[str, ...]


class ReadOptions(TypedDict, total=False):
    """How a checkpoint is read; each key is the command-line option of the same name.

    Attributes:
        arch: `torchvision/NAME`, `timm/NAME`, `dfq/NAME`, `hf-hub:OWNER/NAME` or `path/to/net.py:factory`, as in
            `dfq.models.registry.build`; needed where the file does not say it.
        input_size: Channels, height and width of the images.
        mean, std: Mean and standard deviation per channel, for pixels in [0, 1]; one number stands for all channels.
        weights: Which of several weights in the file to take: a key (`state_dict`, `model.ema`), or the first part of
            the names inside (`student`). None: the averaged ones (EMA), else the only ones.
        allow_pickle: Whether files that hold Python objects are unpickled. This RUNS CODE FROM THE FILE.
        allow_float_ops: Whether an ONNX file may have operators that are seldom in networks for images, and for which
            there are no integers. They stay in floating point.
    """

    arch: str | None
    input_size: Sequence[int] | None
    mean: float | Sequence[float] | None
    std: float | Sequence[float] | None
    weights: str | None
    allow_pickle: bool
    allow_float_ops: bool


def load_checkpoint(path: str | os.PathLike[str], **options: Unpack[ReadOptions]) -> Loaded:
    """Reads a checkpoint; what the caller passes takes precedence over what the file says.

    Args:
        path: A file with a dict of `arch` and `state_dict`, a bare state dict, a `.safetensors` file, or a `.pt2` file
            of torch.export; a folder of timm's `save_pretrained`; or, where no file has that name, published weights:
            `torchvision/resnet18`, `timm/resnet18.a1_in1k`, `hf-hub:OWNER/NAME`. Only these may be downloaded.
        options: See `ReadOptions`.

    Raises:
        DfqError: The file is not a whole checkpoint of a network of images.
    """
    file = Path(path)
    with reading(file, CHECKPOINT, SAVE_AGAIN):
        return _load(file, options)


def _load(file: Path, options: ReadOptions) -> Loaded:
    arch = options.get("arch")
    contents = _read(file, options)
    check_weights(contents.weights)
    model, name, assumed = build_with_weights(contents, arch, file)
    model = model.float().cpu().eval()
    flags = {"size": options.get("input_size"), "mean": options.get("mean"), "std": options.get("std")}
    published, whose = _published(model, arch, name)
    input_spec, guessed = resolve_input_spec(flags, contents.metadata, published or _of_onnx(contents), whose)
    if guessed and published is None:
        guessed = (OF_ONNX,)
    if contents.metadata.get(CHANNELS_LAST):
        guessed = (*guessed, ROWS_FIRST)
    read = contents.metadata.get(ASSUMED, ()) if contents.metadata.get(FROM_ONNX) else ()
    check_forward(model, input_spec, is_stated=options.get("input_size") is None)
    return Loaded(model, name, input_spec, (*contents.assumed, *read, *assumed, *guessed))


def _read(file: Path, options: ReadOptions) -> Contents:
    arch, weights, allow_pickle = options.get("arch"), options.get("weights"), options.get("allow_pickle", False)
    name = file.as_posix()
    if is_published_name(name) and not file.exists():
        if arch is not None or weights is not None:
            option = "--arch" if arch is not None else "--weights"
            raise DfqError(
                f"{option} beside the published weights '{name}'",
                "a checkpoint file, or published weights alone, which say what they are",
                f"leave {option} out",
            )
        return read_published(name)
    if file.is_dir():
        inside, stated = read_folder(file, arch)
        content, metadata = read_file(inside, allow_pickle=allow_pickle)
        return find_contents(content, {**metadata, **stated}, weights)
    read = read_file(
        file,
        allow_pickle=allow_pickle,
        allow_float_ops=options.get("allow_float_ops", False),
        input_size=options.get("input_size"),
    )
    return find_contents(*read, weights)


def _of_onnx(contents: Contents) -> InputSpec | None:
    """Returns what is assumed of the images of an ONNX file with three channels, which says their size alone."""
    size = contents.metadata.get("input_size")
    if not contents.metadata.get(FROM_ONNX) or size is None or size[0] != len(IMAGENET_MEAN):
        return None
    return InputSpec(size=tuple(size), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _published(model: nn.Module, arch: str | None, name: str) -> tuple[InputSpec | None, str]:
    """Returns the published input of the network, and the name of the architecture that it was published for."""
    if name.startswith(PICKLED):
        return own_input(model) or (None, name)
    asked = arch if arch is not None and is_hub_name(arch) else name
    return published_input_spec(asked), asked
