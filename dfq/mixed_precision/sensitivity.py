"""Measures how much a network suffers from each width of each weight and tensor, on synthetic images, one at a time."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from dfq.mixed_precision.places import Place, tensor_places, weight_places
from dfq.mixed_precision.probe import Probe
from dfq.mixed_precision.settings import SensitivitySettings
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.scheme import QuantSpec, Scheme
from dfq.student.placement import plan_quantizers
from dfq.student.set_ranges import attach_observers, fit_range, quantizers_in_mode
from dfq.system.stage import Stage
from dfq.teacher import Teacher

Nats = Mapping[str, Mapping[int, float]]  # name → bits → nats


@dataclass(frozen=True)
class Candidates:
    """The widths to try, 2 to 8 bits.

    Attributes:
        weights: Those of a layer's weight, by the name of the layer.
        tensors: Those of a tensor that matrix layers read, by the name of the node that it comes from in the teacher's
            graph (`dfq.student.placement.TensorPlan`).
    """

    weights: Mapping[str, Sequence[int]]
    tensors: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensitivities:
    """What widths lose, one at a time.

    Attributes:
        weights: Layer → bits → nats.
        tensors: Node → bits → nats.
        images: Number of images that they are a mean over.
    """

    weights: Nats
    tensors: Nats
    images: int

    def of_weight(self, layer: str, bits: int) -> float:
        """Returns that of one weight in nats; 0 for one that was not measured, because its width is fixed."""
        return self.weights[layer][bits] if layer in self.weights else 0.0

    def of_tensors(self, bits: Mapping[str, int]) -> float:
        """Returns the sum of those of some tensors in nats, from their bits by name."""
        return sum(self.tensors[name][width] for name, width in bits.items())


@torch.no_grad()
def width_sensitivity(
    teacher: Teacher,
    scheme: Scheme,
    candidates: Candidates,
    images: Tensor,
    settings: SensitivitySettings = SensitivitySettings(),
    stage: Stage | None = None,
) -> Sensitivities:
    """Measures how much the network suffers from each width of each weight and of each tensor.

    The sensitivity of a weight at b bits is the mean of τ²·KL(teacher ‖ probe) over the images, or of the relative
    squared error of outputs that are no logits. The probe is the teacher with this one weight rounded to b bits (per
    channel, on the grid of `scheme`, with a range that is fitted as the settings say) and everything else in floating
    point. That of a tensor is the same, where the probe rounds what matrix layers read of this one tensor; all other
    operators read it as it is. τ is that of the held-out divergence in training. For weights, this is
    ZeroQ's measure (Cai et al., CVPR 2020, section 3.3), but there τ is 1, at which images that the teacher is sure of
    say nothing.

    Sensitivities are made monotone (`monotone`), because noise of 128 images must not make a wider grid look worse.

    Args:
        teacher: The network.
        scheme: The scheme whose grids are tried.
        candidates: The widths to try.
        images: Normalised, (N, C, H, W).
        settings: How the grids are fitted, and how many images are looked at together.
        stage: Its budget may end the measurement after any batch. Its checkpoint keeps what was measured, place by
            place.

    Raises:
        DfqError: Weights, tensors or answers are not finite.
    """
    network = copy.deepcopy(teacher.traced)
    plan = plan_quantizers(network, scheme)
    tensors, weights = tensor_places(network, plan, candidates.tensors), weight_places(network, plan)
    stage, batches = stage or Stage(), images.split(settings.batch_size_of(teacher.input_spec))
    tried = [*candidates.weights.values(), *candidates.tensors.values()]
    with stage.task("Probing layers", len(tried) + sum(map(len, tried)) * len(batches)) as task:
        grids: dict[Place, dict[int, FakeQuantize]] = {}
        for layer, widths in candidates.weights.items():
            rows = network.get_submodule(layer).weight.flatten(1).float()  # type: ignore[operator, union-attr]
            specs = {bits: scheme.weight_spec(bits) for bits in widths}
            grids[weights[layer]] = _fitted(specs, rows, settings.ranges, layer)
            task.advance()
        for name, values in _values(network, tensors, batches, settings).items():
            specs = {bits: scheme.activation_spec(bits) for bits in candidates.tensors[name]}
            grids[tensors[name]] = _fitted(specs, values, settings.ranges, name)
            task.advance()
        probe = Probe(teacher, network, grids, task, stage.checkpoint)
        probe.resume()
        for batch in batches[probe.batches :]:
            probe.compare(batch)
            if stage.budget.done(0, 1) >= 1:
                break
    means = {
        place: monotone({bits: total / probe.images for bits, total in sums.items()})
        for place, sums in probe.sums.items()
    }
    return Sensitivities(
        weights={layer: means[weights[layer]] for layer in candidates.weights},
        tensors={name: means[tensors[name]] for name in candidates.tensors},
        images=probe.images,
    )


def monotone(sensitivity: Mapping[int, float]) -> dict[int, float]:
    """Returns sensitivities by bits, each raised to the largest of all wider widths: fewer bits are never better."""
    raised: dict[int, float] = {}
    worst = 0.0
    for bits in sorted(sensitivity, reverse=True):
        worst = raised[bits] = max(worst, sensitivity[bits])
    return dict(sorted(raised.items()))


def _values(
    network: fx.GraphModule, places: Mapping[str, Place], batches: Sequence[Tensor], settings: SensitivitySettings
) -> dict[str, Tensor]:
    """Returns a sample of the values of each tensor, float32 (1, M), from all batches."""
    if not places:
        return {}
    runner, most = fx.Interpreter(network), max(settings.samples_per_tensor // len(batches), 1)
    with quantizers_in_mode(network, "observe"):
        observers = attach_observers({name: place.quantizer for name, place in places.items()}, most, seed=0)
        for batch in batches:
            runner.run(batch)
    return {name: observer.values() for name, observer in observers.items()}


def _fitted(specs: Mapping[int, QuantSpec], values: Tensor, ranges: str, name: str) -> dict[int, FakeQuantize]:
    """Returns the grids of `specs` that calibration would start values (rows, M) with."""
    found = {bits: FakeQuantize(spec, channels=len(values)).to(values.device) for bits, spec in specs.items()}
    for quantizer in found.values():
        fit_range(quantizer, values, ranges, name)
    return found
