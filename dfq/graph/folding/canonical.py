"""The canonical form of a captured network: what students are made of, trained, and exported."""

import copy

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.capture.capture import random_images
from dfq.graph.folding.fold_affine import fold_affine_maps, spell_out_hard_sigmoids
from dfq.graph.folding.fold_batch_norm import fold_batch_norms
from dfq.graph.folding.merge_branches import merge_branches
from dfq.graph.same_logits import off_by, same_logits
from dfq.graph.shapes import propagate_shapes
from dfq.images.input_spec import InputSpec


def folded(network: fx.GraphModule, input_spec: InputSpec) -> fx.GraphModule:
    """A copy of a captured network without BatchNorm, compared with it on random images.

    Every BatchNorm is folded into the layer before it or turned into a depthwise 1×1 convolution, as is every other
    factor and offset of a channel; convolutions of one tensor that are added up become one. Nodes carry the shape of
    their output for two images.

    Raises:
        DfqError: the copy computes something else.
    """
    copied = _simplified(network)
    propagate_shapes(copied, tuple(input_spec.size))
    images = random_images(network, input_spec, 2)
    found, expected = copied(images), network(images)
    if not same_logits(found, expected) and not _is_rounding(network, images):
        raise DfqError(
            f"the network gives other logits once it is simplified: {off_by(found, expected)}",
            "the same logits",
            "this is an error of dfq: please report the architecture",
            exit_code=1,
        )
    return copied


def _simplified(network: fx.GraphModule) -> fx.GraphModule:
    copied = copy.deepcopy(network)
    _untie(copied)
    fold_batch_norms(copied)
    spell_out_hard_sigmoids(copied)
    fold_affine_maps(copied)
    merge_branches(copied)
    return copied


@torch.no_grad()
def _is_rounding(network: fx.GraphModule, images: Tensor) -> bool:
    """Whether the same simplification of the same network changes nothing in float64.

    In deep networks with random weights, float32 rounding alone can move the logits by more than the tolerance.
    """
    precise, images = copy.deepcopy(network).double(), images.double()
    try:
        return same_logits(_simplified(precise)(images), precise(images))
    except RuntimeError:  # it asks for float32 somewhere
        return False


def _untie(network: nn.Module) -> None:
    """Gives each layer tensors of its own, in place: each has a grid of its own, and files hold no tensor twice."""
    seen: set[int] = set()
    for module in network.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if id(tensor) in seen:
                own = tensor.detach().clone()
                is_parameter = isinstance(tensor, nn.Parameter)
                setattr(module, name, nn.Parameter(own, tensor.requires_grad) if is_parameter else own)
            seen.add(id(tensor))
