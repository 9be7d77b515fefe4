"""`FileSize`: what widths cost in bytes of the ONNX file, measured by exporting."""

import tempfile
from math import ceil
from pathlib import Path

import torch
from torch import fx

from dfq.errors import DfqError
from dfq.export import export_onnx
from dfq.mixed_precision.groups import weight_groups, widths_of
from dfq.mixed_precision.layers import layers_of
from dfq.mixed_precision.settings import FileSizeSettings
from dfq.mixed_precision.widths import Widths
from dfq.quantizers.scheme import BITS, Scheme
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.set_ranges import calibrate
from dfq.student.size_estimate import stored_weight_bytes
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher

NARROW = 4  # width of the narrow container
WIDE = 8  # width of the wide container


class FileSize:
    """A limit on the bytes of the ONNX file.

    Grids of up to 4 bits count as stored in 4 bits and all others as stored in 8. INT2 is left out, because not every
    runtime reads it. A width is thus a candidate only where it is the widest one of its container: 4 and 8. Layers so
    small that the extra nodes of the packing outweigh what it saves keep 8.

    Costs are measured, not modelled. A student with the widest weights and one with the narrowest are exported. Their
    difference gives the cost of the extra nodes, which the layers share equally; `cost` exports the choice itself.
    Those students are calibrated on noise and not trained. That changes no byte, except that equal tensors are stored
    once and biases that fit into 16 bits are stored in 16. Tensors are therefore made unequal and biases large, so that
    the real file can only be a little smaller.

    Args:
        teacher: The network.
        scheme: Its scheme.
        size: Largest size of the file in bytes.
        progress: Where the measurement is reported.
        settings: How the students are made.

    Raises:
        DfqError: The file cannot become as small as that.
    """

    unit = "bytes"

    def __init__(
        self,
        teacher: Teacher,
        scheme: Scheme,
        size: int,
        progress: Progress | None = None,
        settings: FileSizeSettings = FileSizeSettings(),
    ):
        self.teacher, self.scheme, self.limit, self.layers = teacher, scheme, size, layers_of(teacher, scheme)
        self.settings = settings
        self.asked = float(size)
        self._measured: dict[tuple[int, ...], int] = {}
        with (progress or Silent()).task("Measuring file sizes", 2) as task:
            self.largest = self.cost(Widths(dict.fromkeys(self.layers.free, WIDE)))
            task.advance()
            self.narrow = self.cost(Widths(dict.fromkeys(self.layers.free, NARROW)))
            task.advance()
        self.groups = weight_groups({layer: self._candidates(layer) for layer in self.layers.free})
        self.base = self.largest - sum(self._stored(layer, WIDE) for layer in self.layers.free)
        if self.smallest > self.limit:
            raise self.unreachable()

    @property
    def smallest(self) -> int:
        return self.cost(widths_of(self.groups, {group.name: group.uniform(BITS[0]) for group in self.groups}))

    def cost(self, widths: Widths) -> int:
        key = tuple(widths.weights[layer] for layer in self.layers.free)
        if key not in self._measured:
            self._measured[key] = self._export(widths)
        return self._measured[key]

    def _export(self, widths: Widths) -> int:
        student = make_student(self.teacher, widths.applied_to(self.scheme))
        generator = torch.Generator().manual_seed(0)
        shape = (self.settings.images, *self.teacher.input_spec.size)
        noise = torch.randn(shape, generator=generator).to(self.teacher.device)
        calibrate(student, noise, ranges="minmax")
        _make_unequal(student, generator, self.settings)
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
def _make_unequal(student: fx.GraphModule, generator: torch.Generator, settings: FileSizeSettings) -> None:
    """Changes scales and biases a little, as training will, and zero points except those after a ReLU, which are 0."""
    for name, parameter in student.named_parameters():
        noise = torch.rand(parameter.shape, generator=generator).to(parameter.device) / settings.noise_divisor
        parameter.mul_(1 + noise)
        if name.endswith(".bias"):  # it may be zero in every layer
            parameter.add_(settings.added_bias * (1 + noise))
    moved = [quantizer for quantizer in activation_quantizers(student).values() if quantizer.zero_point != 0]
    for index, quantizer in enumerate(moved):
        quantizer.zero_point.fill_(max(quantizer.spec.q_max - 1 - index, 1))
