"""Turns a .pt2 file (`torch.export.save`) into a network with layers that computes the same."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from dfq.errors import DfqError
from dfq.graph.capture.capture import functional
from dfq.graph.file_interface import INTERFACE, FileInterface
from dfq.graph.largest_tensor import check_largest_tensor
from dfq.graph.outputs import as_tuple, named_outputs
from dfq.graph.rewriting.rewrite import CapturedNetwork, rewritten
from dfq.graph.same_outputs import off_by, same_outputs
from dfq.graph.silence import silence
from dfq.models.exported_archive import EXPORT_AGAIN, read_archive
from dfq.models.settings import ReadExportedSettings
from dfq.system.reading import reading

SUFFIX = ".pt2"
ExportedNetwork = CapturedNetwork


def read_exported(path: str | Path, *, settings: ReadExportedSettings = ReadExportedSettings()) -> CapturedNetwork:
    """Reads a .pt2 file; nothing in it is executed (see `dfq.models.exported_archive`).

    Convolutions, linear layers and BatchNorm become layers under the names that they had in the network. Other
    operators become the calls that `dfq.graph.operators` knows, or stay as they are. The result is compared on random
    images with what torch makes of the program.

    Raises:
        DfqError: The file is missing or unsafe; the program is no network of images in evaluation mode; or it takes
            only the number of images that it was exported with.
    """
    file = Path(path)
    if not file.is_file():
        raise DfqError(f"no file '{file}'", "a file of torch.export.save", "check the path, or pass --arch model.pt2")
    program = read_archive(file)
    batch, size = _input_shape(program, file, settings.images)
    _check_mode(program, file)
    original: Any = program.module(check_guards=False)
    with reading(file, "a network whose tensors fit into memory", EXPORT_AGAIN):
        check_largest_tensor(original, (batch, *size))
    network = rewritten(functional(program))
    network.meta["image_size"] = size
    images = torch.randn(batch, *size, generator=torch.Generator().manual_seed(0))
    _check_same(network, original, images, file, settings)
    return network


def _input_shape(program: ExportedProgram, file: Path, count: int) -> tuple[int, tuple[int, ...]]:
    """Returns the number of images that the program takes, or `count` where it takes any number; and (C, H, W)."""
    names = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.name in names]
    shapes = [tuple(getattr(value, "shape", ())) for value in values]
    shape = shapes[0] if len(shapes) == 1 else ()
    if len(shape) != 4 or not all(isinstance(length, int) for length in shape[1:]):
        raise DfqError(
            f"'{file}' takes inputs of shape {', '.join(map(str, shapes)) or 'nothing'}",
            "one input: images (N, channels, height, width), of a fixed size",
            EXPORT_AGAIN,
        )
    return (shape[0] if isinstance(shape[0], int) else count), shape[1:]


def _check_mode(program: ExportedProgram, file: Path) -> None:
    norms = [node for node in program.graph.nodes if node.target is torch.ops.aten.batch_norm.default]
    if any(_trains(node) for node in norms):
        raise DfqError(f"'{file}' was exported in training mode", "evaluation mode", EXPORT_AGAIN)


def _trains(norm: fx.Node) -> bool:
    return bool(norm.args[5] if len(norm.args) > 5 else norm.kwargs.get("training"))


@torch.no_grad()
def _check_same(
    network: CapturedNetwork, original: Any, images: Tensor, file: Path, settings: ReadExportedSettings
) -> None:
    answers = original(images.clone())  # the program may write to its input
    single = answers[0] if isinstance(answers, (tuple, list)) and len(answers) == 1 else answers
    given = named_outputs(single, len(images), f"'{file}'")
    network.meta[INTERFACE], expected = FileInterface(outputs=tuple(given.tensors)), tuple(given.tensors.values())
    found = as_tuple(network(images))
    if not same_outputs(found, expected, settings=settings.same_outputs):
        raise DfqError(f"'{file}' gives other outputs once it is made of layers: {off_by(found, expected)}",
                       "the same outputs", "save the weights and pass the architecture: --arch path/to/net.py:factory",
                       exit_code=1)  # fmt: skip
    count = settings.other_images
    try:
        repeated = images[:1].expand(count, -1, -1, -1)
        with silence():
            rows = tuple(each[:1].expand(count, *each.shape[1:]) for each in found)
            same = same_outputs(as_tuple(network(repeated)), rows, settings=settings.same_outputs)
    except RuntimeError:
        same = False
    if not same:
        raise DfqError(f"'{file}' takes exactly {len(images)} images at a time", "any number of images", EXPORT_AGAIN)
