"""Makes a program valid for any number of images where the network uses that number as a plain Python number.

`len(images)` and `int(images.shape[0])` are plain Python numbers, which torch.export takes for constants: the program
holds for one number of images only. Such a network is exported with a number of images of which nothing else in a
network is a multiple (`CaptureSettings.fixed_batch`). A multiple of it among the arguments of an operator then means
the number of images.
"""

import operator
from typing import Any

from torch import fx
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from dfq.graph.rewriting.aten_layers import ATEN


def has_fixed_batch(program: ExportedProgram, fixed_batch: int) -> bool:
    """Returns whether the program was exported for `fixed_batch` images."""
    count = _images(program).meta["val"].shape[0]
    return isinstance(count, int) and count == fixed_batch


def open_batch(program: ExportedProgram, fixed_batch: int) -> ExportedProgram:
    """Opens, in place, the number of images of a program that was exported for `fixed_batch` images.

    Any other program is returned as it is. The caller compares the result with the network.
    """
    if has_fixed_batch(program, fixed_batch):
        images = _images(program)
        for node in list(program.graph.nodes):
            if node.op == "call_function":
                node.args = _opened(node.args, node, images, fixed_batch)
                node.kwargs = _opened(node.kwargs, node, images, fixed_batch)
    return program


def _images(program: ExportedProgram) -> fx.Node:
    (name,) = program.graph_signature.user_inputs
    return next(node for node in program.graph.nodes if node.name == name)


def _opened(arguments: Any, node: fx.Node, images: fx.Node, fixed_batch: int) -> Any:
    def count(argument: Any) -> Any:
        if type(argument) is not int or argument <= 0 or argument % fixed_batch:
            return argument
        with node.graph.inserting_before(node):
            size = node.graph.call_function(ATEN.sym_size.int, (images, 0))
            if argument == fixed_batch:
                return size
            return node.graph.call_function(operator.mul, (size, argument // fixed_batch))

    return map_aggregate(arguments, count)
