"""Why a network cannot be captured: one error for each reason."""

import traceback
from pathlib import Path

import torch
from torch import fx, nn

from dfq.errors import DfqError
from dfq.graph.rewriting.module_paths import innermost_path
from dfq.graph.same_logits import WAY_OUT

LIBRARIES = tuple(f"{Path(package).parent}/" for package in (torch.__file__, __file__))  # not the network's own code


def one_batch(model: nn.Module) -> DfqError:
    """The network works for the number of images that it was exported with, and for no other."""
    return DfqError(
        f"{type(model).__name__} takes one number of images only: its forward pass uses it as a plain Python number",
        "a forward pass for any number of images: runtimes get files with an open batch",
        "take the number from images.size(0), not from len(images), and use it in reshape and expand alone; then "
        "pass the network as --arch path/to/net.py:factory",
        exit_code=1,
    )


def not_exported(model: nn.Module, error: Exception) -> DfqError:
    """torch.export's first line, and the line of the network at which it stopped."""
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


def batch_statistics(node: fx.Node) -> DfqError:
    """A BatchNorm has no running statistics."""
    place = innermost_path(node) or "a BatchNorm of the network"
    return DfqError(
        f"'{place}' normalises by the statistics of the batch: the answer to an image depends on the other images",
        "BatchNorm with running statistics, or normalization within each image (GroupNorm, LayerNorm)",
        "train with track_running_stats=True, or replace the layer, and pass the network again",
    )


def control_flow(node: fx.Node) -> DfqError:
    """An operator such as torch.cond takes a graph as its argument."""
    return DfqError(
        f"the network branches on the values of a tensor ({node.target})",
        "a forward pass that computes the same operators for every image",
        "replace torch.cond and the like by torch.where, and pass the network again",
    )
