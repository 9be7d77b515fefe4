"""What widths cost in bytes of the ONNX file: measured by exporting."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path

import torch
from torch import fx

from dfq.errors import DfqError
from dfq.export import export_onnx
from dfq.mixed_precision.layers import layers_of
from dfq.mixed_precision.width_limit import Costs
from dfq.quantizers.scheme import BITS, Scheme
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.set_ranges import calibrate
from dfq.student.size_estimate import stored_weight_bytes
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher

NARROW, WIDE = 4, 8  # a width of each container
LARGE = 1000.0  # as a bias: some 10^6 steps of its grid, which need 32 bits


class FileSize:
    """Bytes of the ONNX file.

    Grids of up to 4 bits count as stored in 4 and all others in 8 (INT2 is left out: not every runtime reads it), so a
    width is a candidate only where it is the widest one of its container: 4 and 8. Layers so small that the packing's
    extra nodes outweigh it keep 8.

    Measured, not modelled: a student with the widest and one with the narrowest weights are exported, and their
    difference gives the cost of the extra nodes, shared equally by the layers; `cost` exports the choice itself.
    Those students are calibrated on noise, and not trained. That does not move a byte, except that tensors which happen
    to be equal are stored once, and biases that fit 16 bits in 16: they are therefore made unequal and large, and the
    real file can only be a little smaller.
    """

    unit = "bytes"

    def __init__(self, teacher: Teacher, scheme: Scheme, size: int, progress: Progress | None = None):
        self.teacher, self.scheme, self.limit, self.layers = teacher, scheme, size, layers_of(teacher, scheme)
        self.asked = float(size)
        self._measured: dict[tuple[int, ...], int] = {}
        with (progress or Silent()).task("Measuring file sizes", 2) as task:
            self.largest = self.cost(dict.fromkeys(self.layers.free, WIDE))
            task.advance()
            self.narrow = self.cost(dict.fromkeys(self.layers.free, NARROW))
            task.advance()
        self.costs: Costs = {layer: self._candidates(layer) for layer in self.layers.free}
        self.base = self.largest - sum(self._stored(layer, WIDE) for layer in self.layers.free)
        if self.smallest > self.limit:
            raise self.unreachable()

    @property
    def smallest(self) -> int:
        return self.cost({layer: min(costs, key=lambda b: costs[b]) for layer, costs in self.costs.items()})

    def cost(self, widths: Mapping[str, int]) -> int:
        key = tuple(widths[layer] for layer in self.layers.free)
        if key not in self._measured:
            self._measured[key] = self._export(widths)
        return self._measured[key]

    def _export(self, widths: Mapping[str, int]) -> int:
        student = make_student(self.teacher, replace(self.scheme, weight_overrides=widths))
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(8, *self.teacher.input_spec.size, generator=generator).to(self.teacher.device)
        calibrate(student, noise, ranges="minmax")
        _make_unequal(student, generator)
        with tempfile.TemporaryDirectory() as folder:
            return export_onnx(student, Path(folder) / "model.onnx", self.teacher.input_spec).stat().st_size

    def _stored(self, layer: str, bits: int) -> int:
        return stored_weight_bytes(self.layers.counts[layer], bits)

    def _candidates(self, layer: str) -> dict[int, int]:
        saved = sum(self._stored(name, WIDE) - self._stored(name, NARROW) for name in self.layers.free)
        extra = ceil(max(saved - (self.largest - self.narrow), 0) / len(self.layers.free))
        costs = {b: self._stored(layer, b) + (extra if b <= NARROW else 0) for b in BITS}
        return {b: cost for b, cost in costs.items() if all(cost < costs[wider] for wider in BITS if wider > b)}

    def shown(self, cost: int) -> float:
        return float(cost)

    def unreachable(self) -> DfqError:
        return DfqError(
            f"a target of {self.limit:,} bytes, which this network cannot reach",
            f"from {self.smallest:,} to {self.largest:,} bytes: the file stores weights in 4 or 8 bits",
            f"--target-size {ceil(self.smallest / 1000)}kB or more",
        )


@torch.no_grad()
def _make_unequal(student: fx.GraphModule, generator: torch.Generator) -> None:
    """Changes scales and biases a little, as training will, and zero points but those of a ReLU, which are 0."""
    for name, parameter in student.named_parameters():
        noise = torch.rand(parameter.shape, generator=generator).to(parameter.device) / 10
        parameter.mul_(1 + noise)
        if name.endswith(".bias"):  # may be zero in every layer
            parameter.add_(LARGE * (1 + noise))
    moved = [quantizer for quantizer in activation_quantizers(student).values() if quantizer.zero_point != 0]
    for index, quantizer in enumerate(moved):
        quantizer.zero_point.fill_(max(quantizer.spec.q_max - 1 - index, 1))
