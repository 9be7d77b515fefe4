"""What a network answers: the class of its largest logit, or one of two classes where it has a single output.

A single logit z stands for the logits (0, z) of two classes: its sign is the answer, and its sigmoid is the probability
of the second class. Where the network itself ends in a sigmoid, its output is that probability, and one half separates
the classes.
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

SIGMOIDS = (torch.sigmoid, F.hardsigmoid)
MOVES = (torch.flatten, torch.reshape)
Logits = TypeVar("Logits", Tensor, np.ndarray)


def two_or_more(logits: Logits) -> Logits:
    """Returns logits (N, C) as they are, and for a single logit (N, 1) those of two classes (N, 2)."""
    if logits.shape[1] > 1:
        return logits
    return F.pad(logits, (1, 0)) if isinstance(logits, Tensor) else np.pad(logits, ((0, 0), (1, 0)))


def answers(logits: Logits, boundary: float = 0.0) -> Logits:
    """Returns the classes (N,) of logits (N, C); for a single output, 1 where it is above `boundary`, else 0."""
    return logits.argmax(1) if logits.shape[1] > 1 else two_or_more(logits - boundary).argmax(1)


def same_answers(one: Logits, other: Logits, boundary: float = 0.0) -> float:
    """Returns the share of the rows of two logits (N, C) that have the same answer, in [0, 1]."""
    same = answers(one, boundary) == answers(other, boundary)
    return float(same.sum()) / len(same)


def boundary_of(network: nn.Module) -> float:
    """Returns the value of a single output that separates two classes.

    It is 0.5 for a captured network that ends in a sigmoid, else 0.
    """
    node = _last_operator(network)
    return 0.5 if node is not None and node.target in SIGMOIDS else 0.0


def _last_operator(network: nn.Module) -> fx.Node | None:
    """Returns the last node of a captured network that computes, and does not only move values."""
    if not isinstance(network, fx.GraphModule):
        return None
    node = next(node for node in network.graph.nodes if node.op == "output").args[0]
    while isinstance(node, fx.Node) and node.target in MOVES:
        node = node.args[0]  # type: ignore[assignment]
    return node if isinstance(node, fx.Node) else None
