"""`OnnxNetwork`: what an ONNX file computes, as a module of torch's operators."""

import re
from typing import Any

import numpy as np
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.models.onnx_file.folding import Computed, FoldedGraph
from dfq.models.onnx_file.operators.float_operators import FLOAT_OPERATORS
from dfq.models.onnx_file.operators.row import Node
from dfq.models.onnx_file.reading import OnnxFile
from dfq.models.onnx_file.row_order import needed_alone, plain_reshapes
from dfq.models.onnx_file.settings import ReadOnnxSettings
from dfq.models.onnx_file.sizes import solved
from dfq.models.onnx_file.step import Step

WEIGHT = ".weight"
MAX_DEPTH = 16  # modules inside each other; a name may have any number of parts
OPERATOR = re.compile(r"/[A-Z]\w*$")  # the last part of a node's name in files of torch


class OnnxNetwork(nn.Module):
    """The network of an ONNX file for any number of images (N, C, H, W).

    Its modules have the names of the file's weights and nodes, as far as they can be told.

    Args:
        file: The file.
        size: Size (C, H, W) of the images.
        channels_last: Whether the file itself takes images (N, H, W, C).
        allow_float_ops: Whether operators that always stay in floating point are taken.

    Attributes:
        float_operators: Names of those operators that the network has.
        ends_in_softmax: Whether the output is that of a softmax.
        output_shapes: The shape of each output, whose first length is a prime in the place of the number of images.

    Raises:
        DfqError: An operator has no row, or the network computes with the number of images.
    """

    def __init__(
        self,
        file: OnnxFile,
        size: tuple[int, int, int],
        *,
        channels_last: bool = False,
        allow_float_ops: bool = False,
        settings: ReadOnnxSettings = ReadOnnxSettings(),
    ):
        super().__init__()
        self.path, self.input, self.outputs, self.channels_last = file.path, file.input, file.outputs, channels_last
        first, second = (
            FoldedGraph(
                file, size, channels_last=channels_last, count=count, allow_float_ops=allow_float_ops, settings=settings
            )
            for count in settings.counts
        )
        self.float_operators = tuple(sorted({each.node.op for each in first.computed} & set(FLOAT_OPERATORS)))
        self.order: list[tuple[str, tuple[str, ...]]] = []
        steps = [
            (one, self._step(one, two, settings)) for one, two in zip(first.computed, second.computed, strict=True)
        ]
        for computed, step in needed_alone(plain_reshapes(steps, settings.counts[0]), file.outputs):
            self.order.append((self._place(computed, step), computed.outputs))
        missing = [name for name in file.outputs if not isinstance(first.values.get(name), Tensor)]
        if missing:
            raise DfqError(
                f"'{file.path}', output '{missing[0]}' does not depend on the images", "outputs that depend on them"
            )
        self.ends_in_softmax = first.computed[-1].node.op == "Softmax" and first.computed[-1].outputs == file.outputs
        self.output_shapes = [tuple(first.values[name].shape) for name in file.outputs]  # type: ignore[union-attr]
        self.eval()

    def _step(self, one: Computed, two: Computed, settings: ReadOnnxSettings) -> Step:
        pairs = zip(one.names, one.inputs, two.inputs, strict=True)
        inputs = [self._input(one, place, *pair, settings) for place, pair in enumerate(pairs)]
        return Step(one.node, one.row, inputs)

    def _input(self, at: Computed, place: int, name: str, one: Any, two: Any, settings: ReadOnnxSettings) -> Any:
        if one is None:
            return None
        is_static = place in at.row.static
        if isinstance(one, Tensor):
            if is_static:
                raise self._refused(at.node, f"its input {place} depends on what the images show")
            return name
        sizes = solved(one, two, settings.counts) if is_static or not _same(one, two) else None
        if is_static and sizes is not None:
            return sizes
        if is_static or not _same(one, two):
            raise self._refused(at.node, "it computes with the number of images")
        return one.item() if place in at.row.numbers and one.ndim == 0 else one

    def _refused(self, node: Node, reason: str) -> DfqError:
        return DfqError(
            f"'{self.path}', node '{node.name}' ({node.op}): {reason}",
            "shapes that depend on the size of the images alone",
            "export the part of the network in front of it",
        )

    def _place(self, computed: Computed, step: Step) -> str:
        """Adds the module under the name of its weight, or else of its node, and returns its path."""
        named = [name for name in computed.names if name.endswith(WEIGHT)]
        raw = named[0].removesuffix(WEIGHT) if named else _path(OPERATOR.sub("", computed.node.name))
        parts = [re.sub(r"\W", "_", part) for part in re.split(r"[./]", raw) if part] or [computed.node.op]
        holder: nn.Module = self
        path = []
        for part in parts[:-1][:MAX_DEPTH]:
            if not isinstance(getattr(holder, part, None), nn.Module):
                part = _free(holder, part)
                holder.add_module(part, nn.Module())
            holder = getattr(holder, part)
            path.append(part)
        name = _free(holder, parts[-1])
        holder.add_module(name, step)
        return ".".join([*path, name])

    def forward(self, images: Tensor) -> Any:
        """Returns the file's output, or all of them as a tuple, for normalised images (N, C, H, W)."""
        count = images.shape[0]
        values: dict[str, Any] = {self.input: images.permute(0, 2, 3, 1) if self.channels_last else images}
        for path, names in self.order:
            results = self.get_submodule(path)(values, count)
            values.update(zip(names, results if isinstance(results, tuple) else (results,), strict=False))
        found = tuple(values[name] for name in self.outputs)
        return found[0] if len(found) == 1 else found


def _same(one: np.ndarray, two: np.ndarray) -> bool:
    return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


def _path(name: str) -> str:
    """Returns "layer1.0.conv1" of "/layer1/layer1.0/conv1", in which torch repeats what is around a module."""
    kept: list[str] = []
    for part in name.strip("/").split("/"):
        if kept and part.startswith(f"{kept[-1]}."):
            kept.pop()
        kept.append(part)
    return ".".join(kept)


def _free(holder: nn.Module, name: str) -> str:
    name = name if name.isidentifier() or name.isdigit() else f"_{name}"
    taken, count = name, 1
    while hasattr(holder, taken):
        taken, count = f"{name}_{count}", count + 1
    return taken
