"""Opens the number of images again where a network uses it as a plain Python number.

`len(images)` and `int(images.shape[0])` are plain Python numbers, which torch.export takes for constants: the program
holds for one number of images only. Such a network is exported with a number of images of which nothing else in a
network is a multiple; where a multiple of it stands among the arguments of an operator, the number of images is meant.
"""

import operator
from typing import Any

from torch import fx
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from dfq.graph.rewriting.aten_layers import ATEN

UNMISTAKABLE = 113  # a prime, and few enough images for a network that walks through them one by one


def has_fixed_batch(program: ExportedProgram) -> bool:
    """Whether it was exported for `UNMISTAKABLE` images."""
    count = _images(program).meta["val"].shape[0]
    return isinstance(count, int) and count == UNMISTAKABLE


def open_batch(program: ExportedProgram) -> ExportedProgram:
    """The program for any number of images; it is changed in place. One that is open already is given back as it is.

    The caller compares the result with the network.
    """
    if has_fixed_batch(program):
        images = _images(program)
        for node in list(program.graph.nodes):
            if node.op == "call_function":
                node.args = _opened(node.args, node, images)
                node.kwargs = _opened(node.kwargs, node, images)
    return program


def _images(program: ExportedProgram) -> fx.Node:
    (name,) = program.graph_signature.user_inputs
    return next(node for node in program.graph.nodes if node.name == name)


def _opened(arguments: Any, node: fx.Node, images: fx.Node) -> Any:
    def count(argument: Any) -> Any:
        if type(argument) is not int or argument <= 0 or argument % UNMISTAKABLE:
            return argument
        with node.graph.inserting_before(node):
            size = node.graph.call_function(ATEN.sym_size.int, (images, 0))
            if argument == UNMISTAKABLE:
                return size
            return node.graph.call_function(operator.mul, (size, argument // UNMISTAKABLE))

    return map_aggregate(arguments, count)
