"""A .pt2 file (`torch.export.save`) → a network with layers, which computes the same."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from dfq.errors import DfqError
from dfq.graph.capture.capture import functional
from dfq.graph.rewriting.rewrite import CapturedNetwork, rewritten
from dfq.graph.same_logits import check_logits, off_by, same_logits
from dfq.graph.silence import silence
from dfq.models.exported_archive import EXPORT_AGAIN, read_archive

OTHER_BATCH = 3
SUFFIX = ".pt2"
ExportedNetwork = CapturedNetwork


def read_exported(path: str | Path) -> CapturedNetwork:
    """Reads a .pt2 file; nothing in it is executed (see `dfq.models.exported_archive`).

    Convolutions, linear layers and BatchNorm become layers under the names that they had in the network; other
    operators become the calls that `dfq.graph.operators` knows, or stay as they are. The result is compared with what
    torch makes of the program, on random images, before it is given back.

    Raises:
        DfqError: a missing or unsafe file, a program that is not one of an image classifier in evaluation mode, or
            that takes only the number of images that it was exported with.
    """
    file = Path(path)
    if not file.is_file():
        raise DfqError(f"no file '{file}'", "a file of torch.export.save", "check the path, or pass --arch model.pt2")
    program = read_archive(file)
    batch, size = _input_shape(program, file)
    _check_mode(program, file)
    original: Any = program.module(check_guards=False)
    network = rewritten(functional(program))
    network.meta["image_size"] = size
    _check_same(network, original, torch.randn(batch, *size, generator=torch.Generator().manual_seed(0)), file)
    return network


def _input_shape(program: ExportedProgram, file: Path) -> tuple[int, tuple[int, ...]]:
    """(a batch size that the program takes, (C, H, W))."""
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
    return (shape[0] if isinstance(shape[0], int) else 2), shape[1:]


def _check_mode(program: ExportedProgram, file: Path) -> None:
    norms = [node for node in program.graph.nodes if node.target is torch.ops.aten.batch_norm.default]
    if any(_trains(node) for node in norms):
        raise DfqError(f"'{file}' was exported in training mode", "evaluation mode", EXPORT_AGAIN)


def _trains(norm: fx.Node) -> bool:
    return bool(norm.args[5] if len(norm.args) > 5 else norm.kwargs.get("training"))


@torch.no_grad()
def _check_same(network: CapturedNetwork, original: Any, images: Tensor, file: Path) -> None:
    answers = original(images.clone())  # it may write to its input
    single = answers[0] if isinstance(answers, (tuple, list)) and len(answers) == 1 else answers
    expected = check_logits(single, len(images), f"'{file}'")
    found = network(images)
    if not same_logits(found, expected):
        raise DfqError(f"'{file}' gives other logits with its layers put back: {off_by(found, expected)}",
                       "the same logits", "save the weights and pass the architecture: --arch path/to/net.py:factory",
                       exit_code=1)  # fmt: skip
    try:
        repeated = images[:1].expand(OTHER_BATCH, -1, -1, -1)
        with silence():
            same = same_logits(network(repeated), found[:1].expand(OTHER_BATCH, -1))
    except RuntimeError:
        same = False
    if not same:
        raise DfqError(f"'{file}' takes exactly {len(images)} images at a time", "any number of images", EXPORT_AGAIN)
