"""`capture`: any network as a graph of layers, by `torch.export`, compared with the network before it is given back."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm

from dfq.errors import DfqError
from dfq.graph.capture.functional import is_functional
from dfq.graph.capture.open_batch import UNMISTAKABLE, has_fixed_batch, open_batch
from dfq.graph.rewriting.refusals import not_exported, one_batch
from dfq.graph.rewriting.rewrite import CapturedNetwork, rewritten
from dfq.graph.same_logits import check_alone, check_same
from dfq.graph.shapes import propagate_shapes
from dfq.graph.silence import silence
from dfq.images.input_spec import InputSpec

EXAMPLES = 2  # images that the network is exported with
BATCHES = (1, 2, 5)  # numbers of images on which the capture is compared with the network
FIXED_BATCH = "Constraints violated"  # how torch.export says that the number of images cannot be open


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
    with _buffers_kept(model.eval()):
        program = _exported(model, input_spec)
        try:
            network = _rewritten(program, model, input_spec, trains=trains)
        except DfqError as error:
            if not has_fixed_batch(program):
                raise
            raise one_batch(model) from error
    return _averaging_alike(network, model) if trains else network


@contextlib.contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Restores the buffers of a network that writes to them, such as one that counts its calls."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


def _rewritten(program: ExportedProgram, model: nn.Module, input_spec: InputSpec, *, trains: bool) -> CapturedNetwork:
    if trains:  # before it is made functional, the program still has its dropout
        with contextlib.suppress(DfqError, RuntimeError):
            return _checked(rewritten(open_batch(program), trains=True), model, input_spec)
    return _checked(rewritten(open_batch(functional(program)), trains=trains), model, input_spec)


def _averaging_alike(network: CapturedNetwork, model: nn.Module) -> CapturedNetwork:
    """The network, with the momentum and the batch counters of `model`'s BatchNorm layers: a program holds neither."""
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
    """The program for any number of images; for `UNMISTAKABLE` images where the network uses a plain number of them."""
    try:
        return _export(model, random_images(model, input_spec, EXAMPLES), Dim.DYNAMIC)
    except Exception as error:
        if FIXED_BATCH not in str(error):
            raise not_exported(model, error) from error
    like = random_images(model, input_spec, 1)
    try:
        return _export(model, like.new_empty(UNMISTAKABLE, *input_spec.size), Dim.STATIC)  # nobody reads the pixels
    except Exception as error:
        raise one_batch(model) from error


def _export(model: nn.Module, images: Tensor, count: Any) -> ExportedProgram:
    with silence():
        return torch.export.export(model, (images,), dynamic_shapes=({0: count},))


def _checked(network: CapturedNetwork, model: nn.Module, input_spec: InputSpec) -> CapturedNetwork:
    network.meta["image_size"] = tuple(input_spec.size)
    with silence():
        propagate_shapes(network, tuple(input_spec.size))
    for count in BATCHES:
        images = random_images(model, input_spec, count, seed=count)
        check_same(network, model, images, type(model).__name__)
    check_alone(network, images, type(model).__name__)
    return network
