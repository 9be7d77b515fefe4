"""What a network answers: the class of its largest logit; for a single output, one of two classes.

A single logit z stands for the logits (0, z) of two classes: its sign is the answer, its sigmoid the probability of the
second. Where the network itself ends in a sigmoid, its output is that probability, and one half parts the classes.
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
    """Logits (N, C) as they are; of a single one, (N, 1), those of two classes, (N, 2)."""
    if logits.shape[1] > 1:
        return logits
    return F.pad(logits, (1, 0)) if isinstance(logits, Tensor) else np.pad(logits, ((0, 0), (1, 0)))


def answers(logits: Logits, boundary: float = 0.0) -> Logits:
    """Classes (N,) of logits (N, C); of a single output, 1 where it lies above `boundary`, else 0."""
    return logits.argmax(1) if logits.shape[1] > 1 else two_or_more(logits - boundary).argmax(1)


def same_answers(one: Logits, other: Logits, boundary: float = 0.0) -> float:
    """Share of the rows of two logits (N, C) with the same answer, in [0, 1]."""
    same = answers(one, boundary) == answers(other, boundary)
    return float(same.sum()) / len(same)


def boundary_of(network: nn.Module) -> float:
    """Where a single output parts two classes: 0.5 of a captured network that ends in a sigmoid, else 0."""
    if not isinstance(network, fx.GraphModule):
        return 0.0
    node = next(node for node in network.graph.nodes if node.op == "output").args[0]
    while isinstance(node, fx.Node) and node.target in MOVES:
        node = node.args[0]
    return 0.5 if isinstance(node, fx.Node) and node.target in SIGMOIDS else 0.0
