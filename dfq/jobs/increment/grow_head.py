"""Gives a network a larger head, and a second view that still has the old classes alone."""

import copy
import operator
from dataclasses import dataclass

import torch
from torch import fx, nn

from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.graph.shapes import propagate_shapes
from dfq.teacher import Teacher


@dataclass(frozen=True)
class Grown:
    """One network in three forms, which share every layer.

    Attributes:
        model: The network, with logits of shape (N, old + new classes).
        graph: Its captured graph, from which features are read.
        old: The graph of its first logits, of shape (N, old classes), which is compared with the teacher.
        head: The classifier.
        old_classes: Number of old classes.
    """

    model: nn.Module
    graph: fx.GraphModule
    old: fx.GraphModule
    head: nn.Linear
    old_classes: int


def grow(teacher: Teacher, new_classes: int, seed: int = 0) -> Grown:
    """Returns a copy of the teacher with `new_classes` more logits behind the old ones.

    Old logits stay as they are, up to rounding. New rows of the head are initialised as those of a new layer.

    Raises:
        DfqError: The last layer is no `nn.Linear` of the teacher's classes, or the network cannot be captured.
    """
    if teacher.interface.softmax:
        raise DfqError(
            "a network that ends in a softmax, which would spread over old and new classes",
            "a classifier that ends in nn.Linear, which can get more rows",
            "leave the softmax out, and pass the network as --arch path/to/net.py:factory",
        )
    model = copy.deepcopy(teacher.original).requires_grad_(True)
    heads = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    if not heads or heads[-1][1].out_features != teacher.num_classes:
        raise DfqError(
            f"a network whose last linear layer does not give its {teacher.num_classes} logits",
            "a classifier that ends in nn.Linear, which can get more rows",
            "rewrite the head as nn.Linear and pass the network as --arch path/to/net.py:factory",
        )
    name, head = heads[-1]
    larger = _with_more_rows(head, new_classes, seed)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, larger)
    spec = teacher.input_spec
    graph = capture(model, spec, trains=True)
    old = _first_logits(graph, teacher.num_classes)
    propagate_shapes(old, spec.size)
    return Grown(model, graph, old, larger, teacher.num_classes)


def _first_logits(network: fx.GraphModule, count: int) -> fx.GraphModule:
    """Returns a graph of the same layers that gives the first `count` logits alone."""
    graph = fx.Graph()
    logits = graph.graph_copy(network.graph, {})
    graph.output(graph.call_function(operator.getitem, (logits, (slice(None), slice(count)))))
    return fx.GraphModule(network, graph)


def _with_more_rows(head: nn.Linear, count: int, seed: int) -> nn.Linear:
    rows, columns = head.out_features, head.in_features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        larger = nn.Linear(columns, rows + count, bias=head.bias is not None).to(head.weight.device)
    with torch.no_grad():
        larger.weight[:rows] = head.weight
        if head.bias is not None:
            larger.bias[:rows] = head.bias
    return larger
