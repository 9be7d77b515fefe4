"""Captures any network as a graph of layers, by `torch.export`, and compares the graph with the network."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn.modules.batchnorm import _BatchNorm

from dfq.errors import DfqError
from dfq.graph.capture.functional import is_functional
from dfq.graph.capture.open_batch import has_fixed_batch, open_batch
from dfq.graph.file_interface import INTERFACE, FileInterface
from dfq.graph.outputs import named_outputs
from dfq.graph.rewriting.refusals import not_exported, one_batch
from dfq.graph.rewriting.rewrite import CapturedNetwork, rewritten
from dfq.graph.same_outputs import check_alone, check_same
from dfq.graph.settings import CaptureSettings
from dfq.graph.shapes import propagate_shapes
from dfq.graph.silence import silence
from dfq.images.input_spec import InputSpec, worth_trying

LEFT_OUT = "left_out"  # key of a captured network's `meta`: names of what the network gives beside tensors
FIXED_BATCH = "Constraints violated"  # torch.export's error where the number of images cannot be open


def capture(
    model: nn.Module,
    input_spec: InputSpec,
    *,
    trains: bool = False,
    settings: CaptureSettings = CaptureSettings(),
) -> CapturedNetwork:
    """Returns `model` in evaluation mode as a graph of layers, which shares its parameters and buffers.

    In-place updates become plain operators, and weights that are computed from parameters become plain weights. The
    result gives the same outputs as `model` on random images, 1, 2 and 5 at a time: one tensor, or a tuple of them
    where `model` returns several in a list, tuple or dictionary. A captured network is returned as it is.

    Args:
        model: Maps normalised images (N, C, H, W) to tensors with a row for each image. It is left in evaluation mode.
        input_spec: Size and normalisation of its images.
        trains: Whether the model is trained through the graph: then dropout is kept, and weights that are computed from
            parameters stay computed.
        settings: How the network is exported, and on which images the graph is compared with it.

    Raises:
        DfqError: torch.export refuses the network; the outputs of an image depend on the others of its batch; the
            network takes one number of images only; or the captured graph computes something else.
    """
    if isinstance(model, CapturedNetwork):
        propagate_shapes(model, tuple(input_spec.size))
        return model
    with _buffers_kept(model.eval()):
        program = _exported(model, input_spec, settings)
        try:
            network = _rewritten(program, model, input_spec, trains=trains, settings=settings)
        except DfqError as error:
            if not has_fixed_batch(program, settings.fixed_batch):
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


def _rewritten(
    program: ExportedProgram, model: nn.Module, input_spec: InputSpec, *, trains: bool, settings: CaptureSettings
) -> CapturedNetwork:
    if trains:  # before it is made functional, the program still has its dropout
        with contextlib.suppress(DfqError, RuntimeError):
            network = rewritten(open_batch(program, settings.fixed_batch), trains=True)
            return _checked(network, model, input_spec, settings)
    network = rewritten(open_batch(functional(program), settings.fixed_batch), trains=trains)
    return _checked(network, model, input_spec, settings)


def _averaging_alike(network: CapturedNetwork, model: nn.Module) -> CapturedNetwork:
    """Gives the network the momentum and batch counters of `model`'s BatchNorm layers, which programs do not hold."""
    norms = {id(m.running_mean): m for m in model.modules() if isinstance(m, _BatchNorm)}
    for layer in network.modules():
        if isinstance(layer, _BatchNorm) and (original := norms.get(id(layer.running_mean))) is not None:
            layer.momentum, layer.num_batches_tracked = original.momentum, original.num_batches_tracked
    return network


def functional(program: ExportedProgram) -> ExportedProgram:
    """Returns the program with in-place updates as plain operators."""
    if is_functional(program):
        return program
    with silence():
        return program.run_decompositions({})


def random_images(model: nn.Module, input_spec: InputSpec, count: int, seed: int = 0) -> Tensor:
    """Returns normalised noise (count, C, H, W) on the device of the model's parameters."""
    like = next(model.parameters(), torch.zeros(()))
    pixels = torch.rand(count, *input_spec.size, generator=torch.Generator().manual_seed(seed))
    return input_spec.normalize(pixels.to(like.device))


def _exported(model: nn.Module, input_spec: InputSpec, settings: CaptureSettings) -> ExportedProgram:
    """Returns the program for any number of images.

    Where the network uses that number as a plain Python number, the program is for `fixed_batch` images.
    """
    try:
        return _export(model, random_images(model, input_spec, settings.examples), Dim.DYNAMIC)
    except Exception as error:
        if FIXED_BATCH not in str(error):
            raise not_exported(model, error) from error
    like = random_images(model, input_spec, 1)
    try:
        images = like.new_empty(settings.fixed_batch, *input_spec.size)  # nothing reads the pixels
        return _export(model, images, Dim.STATIC)
    except Exception as error:
        raise one_batch(model) from error


def _export(model: nn.Module, images: Tensor, count: Any) -> ExportedProgram:
    with silence():
        return torch.export.export(model, (images,), dynamic_shapes=({0: count},))


def _checked(
    network: CapturedNetwork, model: nn.Module, input_spec: InputSpec, settings: CaptureSettings
) -> CapturedNetwork:
    network.meta["image_size"] = tuple(input_spec.size)
    with silence():
        propagate_shapes(network, tuple(input_spec.size))
    _name_outputs(network, model, input_spec, settings.examples)
    for count in worth_trying(settings.batches, input_spec.size):
        images = random_images(model, input_spec, count, seed=count)
        check_same(network, model, images, type(model).__name__, settings=settings.same_outputs)
    check_alone(network, images, type(model).__name__, settings=settings.same_outputs)
    return network


@torch.no_grad()
def _name_outputs(network: CapturedNetwork, model: nn.Module, input_spec: InputSpec, count: int) -> None:
    """Notes the names of the outputs in the network's interface, and what `model` gives beside tensors."""
    given = named_outputs(model(random_images(model, input_spec, count)), count, type(model).__name__)
    network.meta[INTERFACE] = FileInterface(outputs=tuple(given.tensors))
    network.meta[LEFT_OUT] = given.left_out
