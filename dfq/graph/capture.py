"""`capture`: any network as a graph of layers, by `torch.export`, compared with the network before it is given back."""

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm

from dfq.errors import DfqError
from dfq.graph.functional import is_functional
from dfq.graph.open_batch import UNMISTAKABLE, has_fixed_batch, open_batch
from dfq.graph.rewrite import CapturedNetwork, rewritten
from dfq.graph.shapes import propagate_shapes
from dfq.input_spec import InputSpec

EXAMPLES = 2  # images that the network is exported with
BATCHES = (1, 2, 5)  # numbers of images on which the capture is compared with the network
TOLERANCE = 1e-4  # of the largest logit: kernels may add in another order
LIBRARIES = tuple(f"{Path(package).parent}/" for package in (torch.__file__, __file__))  # not the network's own code
FIXED_BATCH = "Constraints violated"  # how torch.export says that the number of images cannot be open
WAY_OUT = "rewrite that line, and pass the network as --arch path/to/net.py:factory"


def capture(model: nn.Module, input_spec: InputSpec, *, trains: bool = False) -> CapturedNetwork:
    """`model` in evaluation mode as a graph of layers, which shares its parameters and buffers.

    Updates in place become plain operators, weights that are computed from parameters become plain weights. The result
    gives the same logits as `model` on random images, 1, 2 and 5 at a time. A captured network is returned as it is.

    Args:
        model: maps images (N, C, H, W), normalised, to logits (N, classes). It is left in evaluation mode.
        trains: what trains through the graph is the model itself: dropout is kept, and computed weights stay computed.

    Raises:
        DfqError: torch.export refuses the network; its answers depend on other images of the batch; it takes one number
            of images only; or the captured graph computes something else.
    """
    if isinstance(model, CapturedNetwork):
        propagate_shapes(model, tuple(input_spec.size))
        return model
    model.eval()
    program = _exported(model, input_spec)
    try:
        network = _rewritten(program, model, input_spec, trains=trains)
    except DfqError as error:
        if not has_fixed_batch(program):
            raise
        raise _one_batch(model) from error
    return _averaging_alike(network, model) if trains else network


def _rewritten(program: ExportedProgram, model: nn.Module, input_spec: InputSpec, *, trains: bool) -> CapturedNetwork:
    if trains:  # before it is made functional, the program still has its dropout
        with contextlib.suppress(DfqError, RuntimeError):
            return _checked(rewritten(open_batch(program), trains=True), model, input_spec)
    return _checked(rewritten(open_batch(functional(program)), trains=trains), model, input_spec)


def _averaging_alike(network: CapturedNetwork, model: nn.Module) -> CapturedNetwork:
    """The network, whose BatchNorm layers average and count batches as those of `model` do: a program says neither."""
    norms = {id(m.running_mean): m for m in model.modules() if isinstance(m, _BatchNorm)}
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and (original := norms.get(id(layer.running_mean))) is not None:
            layer.momentum, layer.num_batches_tracked = original.momentum, original.num_batches_tracked
    return network


def functional(program: ExportedProgram) -> ExportedProgram:
    """The same program without updates in place."""
    if is_functional(program):
        return program
    with silence():
        return program.run_decompositions({})


def random_images(model: nn.Module, input_spec: InputSpec, count: int, seed: int = 0) -> Tensor:
    """Normalised noise (count, C, H, W), where the model's parameters are."""
    like = next(model.parameters(), torch.zeros(()))
    pixels = torch.rand(count, *input_spec.size, generator=torch.Generator().manual_seed(seed))
    return input_spec.normalize(pixels.to(like.device))


def _exported(model: nn.Module, input_spec: InputSpec) -> ExportedProgram:
    """The program for any number of images; where the network makes a plain number of it, for `UNMISTAKABLE` images."""
    try:
        return _export(model, random_images(model, input_spec, EXAMPLES), Dim.DYNAMIC)
    except Exception as error:
        if FIXED_BATCH not in str(error):
            raise _refused(model, error) from error
    like = random_images(model, input_spec, 1)
    try:
        return _export(model, like.new_empty(UNMISTAKABLE, *input_spec.size), Dim.STATIC)  # nobody reads the pixels
    except Exception as error:
        raise _one_batch(model) from error


def _export(model: nn.Module, images: Tensor, count: Any) -> ExportedProgram:
    with silence():
        return torch.export.export(model, (images,), dynamic_shapes=({0: count},))


def _one_batch(model: nn.Module) -> DfqError:
    return DfqError(
        f"{type(model).__name__} takes one number of images only: its forward pass makes a plain number of it",
        "a forward pass for any number of images: runtimes get files with an open batch",
        "take the number from images.size(0), not from len(images), and use it in reshape and expand alone; then "
        "pass the network as --arch path/to/net.py:factory",
        exit_code=1,
    )


def _refused(model: nn.Module, error: Exception) -> DfqError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines or [type(error).__name__])[0][:300]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(LIBRARIES)]
    place = f" ({frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line})" if frames else ""
    return DfqError(
        f"torch.export does not take {type(model).__name__}: {reason}{place}",
        "a forward pass whose operators do not depend on the values of tensors, for any number of images",
        WAY_OUT,
        exit_code=1,
    )


def _checked(network: CapturedNetwork, model: nn.Module, input_spec: InputSpec) -> CapturedNetwork:
    network.meta["image_size"] = tuple(input_spec.size)
    with silence():
        propagate_shapes(network, tuple(input_spec.size))
    for count in BATCHES:
        images = random_images(model, input_spec, count, seed=count)
        check_same(network, model, images, type(model).__name__)
    _check_alone(network, images, type(model).__name__)
    return network


@torch.no_grad()
def _check_alone(network: nn.Module, images: Tensor, name: str) -> None:
    """Raises `DfqError` where the answer to an image (N, C, H, W) depends on which others are with it."""
    together, alone = network(images)[1:2], network(images[1:2])
    if not same_logits(together, alone):
        raise DfqError(
            f"{name} gives an image other logits together with others than alone: {off_by(together, alone)}",
            "answers that do not depend on the other images of the batch",
            "find what computes across images (statistics of the batch, a mean over dimension 0) and take it out",
        )


@torch.no_grad()
def check_same(network: nn.Module, original: nn.Module, images: Tensor, name: str) -> None:
    """Raises `DfqError` where `network` gives other logits than `original` for these images (N, C, H, W)."""
    expected = check_logits(original(images.clone()), len(images), name)  # it may write to its input
    try:
        with silence():
            found = network(images)
    except RuntimeError as error:
        raise DfqError(
            f"{name}, captured as a graph, fails on {len(images)} images: {str(error).splitlines()[0][:200]}",
            "a network that takes any number of images",
            WAY_OUT,
            exit_code=1,
        ) from error
    if found.shape != expected.shape or not same_logits(found, expected):
        apart = off_by(found, expected)
        raise DfqError(
            f"{name} gives other logits for {len(images)} images once it is captured as a graph: {apart}",
            "the same logits",
            "the forward pass may be random or keep state between calls: make it neither, and pass the network again",
            exit_code=1,
        )


@torch.no_grad()
def same_logits(found: Tensor, expected: Tensor) -> bool:
    room = TOLERANCE * max(float(expected.detach().abs().max()), 1.0)
    return bool(((found - expected).abs() <= room).all())


@torch.no_grad()
def off_by(found: Tensor, expected: Tensor) -> str:
    """How far two answers are apart, in words."""
    if found.shape != expected.shape:
        return f"shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    return f"up to {float((found - expected).abs().max()):.3g}, where the largest is {float(expected.abs().max()):.3g}"


def check_logits(output: object, count: int, name: str) -> Tensor:
    """The output, where it is logits (N, classes); else a `DfqError`."""
    if isinstance(output, Tensor) and output.dim() == 2 and len(output) == count:
        return output
    shape = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise DfqError(
        f"{name} gives {shape} for {count} images",
        "logits of shape (N, classes)",
        "dfq compresses image classifiers; wrap the network so that it returns its logits",
    )


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """torch.export and graphs that fail write to the log and to stderr; nothing of that helps the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
