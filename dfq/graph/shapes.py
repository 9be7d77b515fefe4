"""Finds the shape of every tensor in a graph."""

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp

from dfq.errors import DfqError

EXAMPLES = 2  # number of images in the shapes that nodes carry, by which readers divide


@torch.no_grad()
def propagate_shapes(network: fx.GraphModule, size: tuple[int, ...]) -> None:
    """Stores in each node's `meta["tensor_meta"]` the shape of its output for two images of `size` (C, H, W).

    Raises:
        DfqError: The network rejects images of that size.
    """
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()
    like = next(network.parameters(), torch.zeros(()))
    try:
        ShapeProp(network).propagate(torch.zeros(EXAMPLES, *size, device=like.device))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise DfqError(
            f"the network rejects images of {'x'.join(map(str, size))}: {reason}",
            "the input size that the network was trained with",
            "pass it as --input-size, for example --input-size 3x224x224",
        ) from error
