"""Brings a captured network into its canonical form, from which students are made."""

import copy

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.capture.capture import random_images
from dfq.graph.folding.fold_affine import fold_affine_maps, spell_out_hard_sigmoids
from dfq.graph.folding.fold_batch_norm import fold_batch_norms
from dfq.graph.folding.merge_branches import merge_branches
from dfq.graph.folding.output_moves import copy_output_moves
from dfq.graph.same_outputs import off_by, same_outputs
from dfq.graph.settings import FoldingSettings
from dfq.graph.shapes import propagate_shapes
from dfq.images.input_spec import InputSpec


def folded(
    network: fx.GraphModule, input_spec: InputSpec, *, settings: FoldingSettings = FoldingSettings()
) -> fx.GraphModule:
    """Returns a copy of a captured network without BatchNorm, which is compared with the network on random images.

    Every BatchNorm, and every other factor and offset of a channel, is folded into the layer before it or becomes a
    depthwise 1×1 convolution. Convolutions of one tensor whose results are added become one convolution. Outputs
    have their own copies of operators that only move values. Nodes carry the shape of their output for two images.

    Raises:
        DfqError: The copy computes something else.
    """
    copied = _simplified(network, settings)
    propagate_shapes(copied, tuple(input_spec.size))
    images = random_images(network, input_spec, settings.images)
    found, expected = copied(images), network(images)
    if not same_outputs(found, expected, settings=settings.same_outputs) and not _is_rounding(
        network, images, settings
    ):
        raise DfqError(
            f"the network gives other outputs once it is simplified: {off_by(found, expected)}",
            "the same outputs",
            "please report the architecture: this is an error of dfq",
            exit_code=1,
        )
    return copied


def _simplified(network: fx.GraphModule, settings: FoldingSettings) -> fx.GraphModule:
    copied = copy.deepcopy(network)
    _untie(copied)
    fold_batch_norms(copied, settings=settings)
    spell_out_hard_sigmoids(copied)
    fold_affine_maps(copied)
    merge_branches(copied)
    copy_output_moves(copied)
    return copied


@torch.no_grad()
def _is_rounding(network: fx.GraphModule, images: Tensor, settings: FoldingSettings) -> bool:
    """Returns whether the same simplification of the same network changes nothing in float64.

    In deep networks with random weights, float32 rounding alone can move the outputs by more than the tolerance.
    """
    precise, images = copy.deepcopy(network).double(), images.double()
    try:
        found = _simplified(precise, settings)(images)
        return same_outputs(found, precise(images), settings=settings.same_outputs)
    except RuntimeError:  # the network asks for float32 somewhere
        return False


def _untie(network: nn.Module) -> None:
    """Gives each layer its own tensors, in place: each has its own grid, and files hold no tensor twice."""
    seen: set[int] = set()
    for module in network.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if id(tensor) in seen:
                own = tensor.detach().clone()
                is_parameter = isinstance(tensor, nn.Parameter)
                setattr(module, name, nn.Parameter(own, tensor.requires_grad) if is_parameter else own)
            seen.add(id(tensor))
