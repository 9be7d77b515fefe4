"""Errors for networks that cannot be captured: there is one for each reason."""

import traceback
from pathlib import Path

import torch
from torch import fx, nn

from dfq.errors import DfqError
from dfq.graph.rewriting.module_paths import innermost_path
from dfq.graph.same_outputs import WAY_OUT

# Folders whose lines in a traceback are not the network's own code.
LIBRARIES = tuple(f"{Path(package).parent}/" for package in (torch.__file__, __file__))


def one_batch(model: nn.Module) -> DfqError:
    """Returns the error for a network that takes one number of images only."""
    return DfqError(
        f"{type(model).__name__} takes one number of images only: its forward pass uses it as a plain Python number",
        "a forward pass for any number of images, because exported files take any number",
        "take the number from images.size(0), not from len(images), and use it only in reshape and expand; then pass "
        "the network as --arch path/to/net.py:factory",
        exit_code=1,
    )


def not_exported(model: nn.Module, error: Exception) -> DfqError:
    """Returns the error with torch.export's first line, and the line of the network at which it stopped."""
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
    """Returns the error for a BatchNorm without running statistics."""
    place = innermost_path(node) or "a BatchNorm of the network"
    return DfqError(
        f"'{place}' normalises by the statistics of the batch: the answer to an image depends on the other images",
        "BatchNorm with running statistics, or normalization within each image (GroupNorm, LayerNorm)",
        "train with track_running_stats=True, or replace the layer, and pass the network again",
    )


def control_flow(node: fx.Node) -> DfqError:
    """Returns the error for an operator that takes a graph as its argument, such as torch.cond."""
    return DfqError(
        f"the network branches on the values of a tensor ({node.target})",
        "a forward pass that computes the same operators for every image",
        "replace torch.cond and the like by torch.where, and pass the network again",
    )
