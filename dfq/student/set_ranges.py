"""Sets every range of a student from its weights and from images, and rounds biases to the grid of the kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.quantizers.fake_quantize import FakeQuantize, SharedQuantize
from dfq.quantizers.quantized_layers import MATRIX_LAYERS
from dfq.quantizers.range_rules import RANGES, grid
from dfq.student.convert import activation_quantizers, weight_quantizers
from dfq.student.settings import CalibrationSettings
from dfq.system.progress import Progress, Silent, Task


class SampleObserver:
    """Keeps a random sample of the values of one tensor, and always its extremes.

    Args:
        values_per_batch: Largest number of values that are drawn from one batch, besides its extremes.
        seed: Seed of the draws.
    """

    def __init__(self, values_per_batch: int, seed: int):
        self.values_per_batch = values_per_batch
        self.kept: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(seed)

    def see(self, values: Tensor) -> None:
        flat = values.detach().float().flatten()
        if flat.numel() > self.values_per_batch:
            index = torch.randint(flat.numel(), (self.values_per_batch,), generator=self.generator)
            extremes = torch.stack(flat.aminmax())
            flat = torch.cat([flat[index.to(flat.device)], extremes])
        self.kept.append(flat)

    def values(self) -> Tensor:
        """Returns all values that were kept, float32 (1, M)."""
        return torch.cat(self.kept)[None]


@contextmanager
def quantizers_in_mode(student: nn.Module, mode: str) -> Iterator[None]:
    """Switches all quantizers of the student to `mode` ("quantize", "observe" or "off") within the context."""
    quantizers = [module for module in student.modules() if isinstance(module, FakeQuantize)]
    before = [quantizer.mode for quantizer in quantizers]
    for quantizer in quantizers:
        quantizer.mode = mode
    try:
        yield
    finally:
        for quantizer, old_mode in zip(quantizers, before, strict=True):
            quantizer.mode, quantizer.observer = old_mode, None


@torch.no_grad()
def calibrate(
    student: fx.GraphModule,
    images: Tensor,
    *,
    ranges: str = "mse",
    seed: int = 0,
    progress: Progress | None = None,
    settings: CalibrationSettings = CalibrationSettings(),
) -> fx.GraphModule:
    """Sets the scales and zero points of all quantizers; returns the same student.

    The ranges of weights are fitted per channel, those of activations to what the unquantized network computes on
    `images`.

    Args:
        images: Normalised images (N, C, H, W).
        ranges: Name of a rule of `dfq.quantizers.range_rules.RANGES`: "minmax", "percentile" or "mse".

    Raises:
        DfqError: There is no such rule, or values are not finite.
    """
    weights, tensors = weight_quantizers(student), activation_quantizers(student)
    batches = images.split(settings.batch_size)
    with (progress or Silent()).task("Calibrating ranges", len(weights) + len(batches) + len(tensors)) as task:
        calibrate_weights(student, ranges, task)
        with quantizers_in_mode(student, "observe"):
            observers = attach_observers(tensors, max(settings.samples_per_tensor // len(batches), 1), seed)
            for batch in batches:
                student(batch)
                task.advance()
        for name, quantizer in tensors.items():
            fit_range(quantizer, observers[name].values(), ranges, name)
            task.advance()
    return student


@torch.no_grad()
def calibrate_weights(student: fx.GraphModule, ranges: str = "mse", task: Task | None = None) -> None:
    """Sets the scales and zero points of all weights, fitted per channel; it needs no images.

    Args:
        ranges: Name of a rule of `dfq.quantizers.range_rules.RANGES`.

    Raises:
        DfqError: There is no such rule, or weights are not finite.
    """
    if ranges not in RANGES:
        raise DfqError(f"ranges {ranges!r}", f"one of {', '.join(RANGES)}")
    for layer, quantizer in weight_quantizers(student).items():
        fit_range(quantizer, student.get_submodule(layer).weight.detach().flatten(1).float(), ranges, layer)
        if task is not None:
            task.advance()


def attach_observers(tensors: dict[str, FakeQuantize], values_per_batch: int, seed: int) -> dict[str, SampleObserver]:
    """Gives each quantizer an observer, which sees what passes the quantizer in mode "observe"."""
    observers = {name: SampleObserver(values_per_batch, seed) for name in tensors}
    for name, quantizer in tensors.items():
        quantizer.observer = observers[name]
    return observers


def fit_range(quantizer: FakeQuantize, values: Tensor, ranges: str, name: str) -> None:
    """Fits scale and zero point to values, float32 (rows, M): one row per channel, or one row for the whole tensor.

    Raises:
        DfqError: Values are not finite.
    """
    if not torch.isfinite(values).all():
        raise DfqError(f"values in {name} that are not finite", "finite weights and activations", exit_code=1)
    scale, zero_point = RANGES[ranges](values, quantizer.spec)
    quantizer.scale.copy_(scale.view_as(quantizer.scale))
    quantizer.zero_point.copy_(zero_point.view_as(quantizer.zero_point))


def ends_of(quantizer: FakeQuantize) -> tuple[Tensor, Tensor]:
    """Returns the smallest and the largest value of a quantizer's grid."""
    scale, zero_point = quantizer.qparams()
    return (quantizer.spec.q_min - zero_point) * scale, (quantizer.spec.q_max - zero_point) * scale


@torch.no_grad()
def widen(quantizer: FakeQuantize, ends: tuple[Tensor, Tensor]) -> None:
    """Lets the grid of a quantizer also span from the first of `ends` to the second."""
    low, high = ends_of(quantizer)
    scale, zero_point = grid(torch.minimum(low, ends[0]), torch.maximum(high, ends[1]), quantizer.spec)
    quantizer.scale.copy_(scale)
    quantizer.zero_point.copy_(zero_point)


@torch.no_grad()
def round_biases_to_kernel_grid(student: fx.GraphModule) -> None:
    """Rounds each bias to the grid on which integer kernels add it, in place: scale_x · scale_w / refinement.

    This is done once, after training, so that student and runtime differ by rounding ties only.
    """
    modules = dict(student.named_modules())
    for node in student.graph.nodes:
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        source = input_quantizer(node, modules)
        if not isinstance(layer, MATRIX_LAYERS) or layer.bias is None or source is None:
            continue
        if layer.float_reason is not None:
            continue
        step = source.qparams()[0] * layer.weight_quantizer.qparams()[0] / layer.weight_quantizer.spec.refinement
        layer.bias.copy_((layer.bias / step).round() * step)


def input_quantizer(node: fx.Node, modules: dict[str, nn.Module]) -> FakeQuantize | None:
    """Returns the quantizer of a node's first input; None where that tensor stays in floating point."""
    source = node.args[0] if node.args else None
    module = modules.get(str(source.target)) if isinstance(source, fx.Node) and source.op == "call_module" else None
    if isinstance(module, SharedQuantize):
        return module.source
    return module if isinstance(module, FakeQuantize) else None
