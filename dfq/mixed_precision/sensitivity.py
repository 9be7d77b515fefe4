"""How much each layer's weight suffers from each width: measured on synthetic images, one layer at a time."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import Scheme
from dfq.system.budget import Budget
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher
from dfq.training.losses import knowledge_distillation
from dfq.training.trainer import TrainSettings

Grids = Mapping[str, Mapping[int, FakeQuantize]]  # layer → bits → the fitted grid of its weight
LARGE_SIDE = 64  # pixels; above it, fewer images in smaller batches
SMALL_IMAGES, LARGE_IMAGES = (128, 32), (32, 16)  # (images, images per batch)


def images_to_probe(input_size: Sequence[int]) -> tuple[int, int]:
    """(how many images are enough, how many at a time) for images of (C, H, W)."""
    return SMALL_IMAGES if max(input_size[1:]) <= LARGE_SIDE else LARGE_IMAGES


@torch.no_grad()
def weight_sensitivity(
    teacher: Teacher,
    scheme: Scheme,
    candidates: Mapping[str, Sequence[int]],
    images: Tensor,
    *,
    ranges: str = "mse",
    batch_size: int = 32,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, dict[int, float]], int]:
    """(layer → bits → sensitivity in nats, number of images that it is the mean over).

    The sensitivity of a layer at b bits is the mean of τ²·KL(teacher ‖ probe) over the images, where the probe is the
    teacher with this one weight rounded to b bits (per channel, the grid of `scheme`, its range fitted by `ranges`) and
    everything else in floating point; τ is that of the held-out divergence in training. ZeroQ's measure (Cai et al.,
    CVPR 2020, section 3.3), which has τ = 1: there, images that the teacher is sure of say nothing.

    Made monotone (`monotone`): noise of 128 images must not make a wider grid look worse.

    Args:
        candidates: layer → the widths to try.
        images: normalised, (N, C, H, W).
        batch_size: images at a time.
        budget: ends the measurement after a batch, the first one excepted.

    Raises:
        DfqError: weights or answers that are not finite.
    """
    network = copy.deepcopy(teacher.traced)
    budget, batches = budget or Budget(), images.split(batch_size)
    widths = sum(len(bits) for bits in candidates.values())
    with (progress or Silent()).task("Probing layers", len(candidates) + widths * len(batches)) as task:
        grids: dict[str, dict[int, FakeQuantize]] = {}
        for layer, bits in candidates.items():
            weight = network.get_submodule(layer).weight
            grids[layer] = {b: _fitted(weight, scheme, b, ranges, layer) for b in bits}  # type: ignore[arg-type]
            task.advance()
        probe, seen = _Probe(network, grids, task), 0
        for batch in batches:
            probe.compare(batch)
            seen += len(batch)
            if budget.done(0, 1) >= 1:
                break
    return {layer: monotone({b: s / seen for b, s in sums.items()}) for layer, sums in probe.sums.items()}, seen


def monotone(sensitivity: Mapping[int, float]) -> dict[int, float]:
    """Bits → sensitivity such that fewer bits are never better: each is raised to the largest of all wider widths."""
    raised: dict[int, float] = {}
    worst = 0.0
    for bits in sorted(sensitivity, reverse=True):
        worst = raised[bits] = max(worst, sensitivity[bits])
    return dict(sorted(raised.items()))


def _fitted(weight: Tensor, scheme: Scheme, bits: int, ranges: str, layer: str) -> FakeQuantize:
    """The grid that calibration would start this weight with, (out, …)."""
    rows = weight.flatten(1).float()
    if not torch.isfinite(rows).all():
        raise DfqError(f"values in {layer} that are not finite", "finite weights", exit_code=1)
    quantizer = FakeQuantize(scheme.weight_spec(bits), channels=len(weight)).to(weight.device)
    scale, zero_point = RANGES[ranges](rows, quantizer.spec)
    quantizer.scale.copy_(scale)
    quantizer.zero_point.copy_(zero_point)
    return quantizer


class _Probe(fx.Interpreter):
    """Runs a network once per batch and, in front of each probed layer, all that follows with each of its grids.

    What lies before the layer is thus computed once, which halves the work.
    """

    def __init__(self, network: fx.GraphModule, grids: Grids, task: Any):
        super().__init__(network)
        self.grids, self.task = grids, task
        self.sums = {layer: dict.fromkeys(widths, 0.0) for layer, widths in grids.items()}  # over images, in nats
        self.nodes: list[fx.Node] = list(network.graph.nodes)
        calls: dict[str, fx.Node] = {}
        for node in self.nodes:
            if node.op == "call_module":
                calls.setdefault(str(node.target), node)  # a layer that is called twice is probed from its first call
        self.starts = {calls[layer]: layer for layer in grids}

    def compare(self, images: Tensor) -> None:
        """Adds the divergences on `images` (N, C, H, W) to `sums`."""
        self.found: dict[tuple[str, int], Tensor] = {}
        target = self.run(images)
        for (layer, bits), logits in self.found.items():
            divergence = knowledge_distillation(logits, target, TrainSettings.selection_temperature)
            if not torch.isfinite(divergence):
                raise DfqError(f"answers that are not finite with {layer} at {bits} bits", "finite logits", exit_code=1)
            self.sums[layer][bits] += max(float(divergence), 0.0) * len(images)  # rounding can make a zero negative

    def run_node(self, n: fx.Node) -> Any:
        if n in self.starts:
            layer = self.starts[n]
            for bits, quantizer in self.grids[layer].items():
                with _rounded(self.module.get_submodule(layer), quantizer):  # type: ignore[arg-type]
                    self.found[layer, bits] = self._rest(n)
                self.task.advance()
        return super().run_node(n)

    def _rest(self, start: fx.Node) -> Tensor:
        """Logits (N, classes) from the values that are alive now; those are copied, as layers may work in place."""
        alive, output = self.env, None
        self.env = dict(zip(alive, copy.deepcopy(list(alive.values())), strict=True))
        for node in self.nodes[self.nodes.index(start) :]:
            output = self.env[node] = super().run_node(node)
            for spent in self.user_to_last_uses.get(node, ()):
                del self.env[spent]
        self.env = alive
        assert isinstance(output, Tensor)
        return output


@contextmanager
def _rounded(layer: nn.Module, quantizer: FakeQuantize) -> Iterator[None]:
    weight = layer.weight.data
    layer.weight.data = quantizer(weight)
    try:
        yield
    finally:
        layer.weight.data = weight
