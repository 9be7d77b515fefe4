"""Measures how much each layer's weight suffers from each width, on synthetic images, one layer at a time."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.outputs import Outputs
from dfq.mixed_precision.settings import SensitivitySettings
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import Scheme
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.output_losses import output_divergence
from dfq.training.settings import TrainSettings

Grids = Mapping[str, Mapping[int, FakeQuantize]]  # layer → bits → the fitted grid of its weight


@torch.no_grad()
def weight_sensitivity(
    teacher: Teacher,
    scheme: Scheme,
    candidates: Mapping[str, Sequence[int]],
    images: Tensor,
    settings: SensitivitySettings = SensitivitySettings(),
    stage: Stage | None = None,
) -> tuple[dict[str, dict[int, float]], int]:
    """Measures how much each weight suffers; returns layer → bits → sensitivity in nats, and the number of images.

    The sensitivity of a layer at b bits is the mean of τ²·KL(teacher ‖ probe) over the images, or of the relative
    squared error of outputs that are no logits. The probe is the teacher with this one weight rounded to b bits (per
    channel, on the grid of `scheme`, with a range that is fitted as the settings say) and everything else in floating
    point. τ is that of the held-out divergence in training. This is
    ZeroQ's measure (Cai et al., CVPR 2020, section 3.3), but there τ is 1, at which images that the teacher is sure of
    say nothing.

    Sensitivities are made monotone (`monotone`), because noise of 128 images must not make a wider grid look worse.

    Args:
        teacher: The network.
        scheme: The scheme whose grids are tried.
        candidates: The widths to try, by layer.
        images: Normalised, (N, C, H, W).
        settings: How the grids are fitted, and how many images are looked at together.
        stage: Its budget may end the measurement after any batch.

    Raises:
        DfqError: Weights or answers are not finite.
    """
    network = copy.deepcopy(teacher.traced)
    stage, batches = stage or Stage(), images.split(settings.batch_size_of(teacher.input_spec))
    widths = sum(len(bits) for bits in candidates.values())
    with stage.progress.task("Probing layers", len(candidates) + widths * len(batches)) as task:
        grids: dict[str, dict[int, FakeQuantize]] = {}
        for layer, bits in candidates.items():
            weight = network.get_submodule(layer).weight
            grids[layer] = {b: _fitted(weight, scheme, b, settings.ranges, layer) for b in bits}  # type: ignore[arg-type]
            task.advance()
        probe, seen = _Probe(teacher, network, grids, task), 0
        for batch in batches:
            probe.compare(batch)
            seen += len(batch)
            if stage.budget.done(0, 1) >= 1:
                break
    return {layer: monotone({b: s / seen for b, s in sums.items()}) for layer, sums in probe.sums.items()}, seen


def monotone(sensitivity: Mapping[int, float]) -> dict[int, float]:
    """Returns sensitivities by bits, each raised to the largest of all wider widths: fewer bits are never better."""
    raised: dict[int, float] = {}
    worst = 0.0
    for bits in sorted(sensitivity, reverse=True):
        worst = raised[bits] = max(worst, sensitivity[bits])
    return dict(sorted(raised.items()))


def _fitted(weight: Tensor, scheme: Scheme, bits: int, ranges: str, layer: str) -> FakeQuantize:
    """Returns the grid that calibration would start this weight, (out, …), with."""
    rows = weight.flatten(1).float()
    if not torch.isfinite(rows).all():
        raise DfqError(f"values in {layer} that are not finite", "finite weights", exit_code=1)
    quantizer = FakeQuantize(scheme.weight_spec(bits), channels=len(weight)).to(weight.device)
    scale, zero_point = RANGES[ranges](rows, quantizer.spec)
    quantizer.scale.copy_(scale)
    quantizer.zero_point.copy_(zero_point)
    return quantizer


class _Probe(fx.Interpreter):
    """Runs a network once per batch, and from each probed layer on once more with each of its grids.

    What precedes the layer is thus computed once, which halves the work.
    """

    def __init__(self, teacher: Teacher, network: fx.GraphModule, grids: Grids, task: Any):
        super().__init__(network)
        self.teacher, self.grids, self.task = teacher, grids, task
        self.sums = {layer: dict.fromkeys(widths, 0.0) for layer, widths in grids.items()}  # over images, in nats
        self.nodes: list[fx.Node] = list(network.graph.nodes)
        calls: dict[str, fx.Node] = {}
        for node in self.nodes:
            if node.op == "call_module":
                calls.setdefault(str(node.target), node)  # a layer that is called twice is probed from its first call
        self.starts = {calls[layer]: layer for layer in grids}

    def compare(self, images: Tensor) -> None:
        """Adds the divergences on `images` (N, C, H, W) to `sums`."""
        self.found: dict[tuple[str, int], Outputs] = {}
        expected = self.run(images)
        for (layer, bits), logits in self.found.items():
            divergence = output_divergence(self.teacher, logits, expected, TrainSettings.selection_temperature)
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

    def _rest(self, start: fx.Node) -> Outputs:
        """Returns the outputs from copies of the values that are alive now: layers may work in place."""
        alive: dict[fx.Node, Any] = self.env
        output: Any = None
        self.env = dict(zip(alive, copy.deepcopy(list(alive.values())), strict=True))
        for node in self.nodes[self.nodes.index(start) :]:
            output = self.env[node] = super().run_node(node)
            for spent in self.user_to_last_uses.get(node, ()):
                del self.env[spent]
        self.env = alive
        return output


@contextmanager
def _rounded(layer: nn.Module, quantizer: FakeQuantize) -> Iterator[None]:
    weight = layer.weight.data
    layer.weight.data = quantizer(weight)
    try:
        yield
    finally:
        layer.weight.data = weight
