"""Ranges of activations from BatchNorm's parameters alone, without any image.

BatchNorm leaves channel c with mean β_c and standard deviation |γ_c| (Nagel et al., ICCV 2019, section 4.2.1, use that
for their analytic bias correction). So a layer with BatchNorm need not be run, because Gaussian maps with these moments
stand for its output. Everything else (ReLU, ReLU6, addition, concatenation, pooling, …) computes with those maps as it
is. The grid of each quantizer is fitted to what passes it.

There are three assumptions. Tails are Gaussian. Channels and layers are independent of each other, so that a residual
addition adds means and variances. Half of a channel's variance is between images, and half between pixels, which only
pooling notices. Behind a layer without BatchNorm nothing is known, until the next BatchNorm.
"""

from typing import Any

import torch
from torch import Tensor, fx

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS, WAS_NORM
from dfq.graph.layer_outputs import along_channels, channel_moments, is_matrix_layer
from dfq.graph.operators import QUANTIZERS
from dfq.images.input_spec import InputSpec
from dfq.post_training.settings import DrawnMapSettings, MomentRangeSettings
from dfq.student.convert import activation_quantizers
from dfq.student.set_ranges import attach_observers, calibrate_weights, fit_range, quantizers_in_mode


@torch.no_grad()
def calibrate_from_moments(
    student: fx.GraphModule,
    input_spec: InputSpec,
    *,
    ranges: str = "mse",
    weights: bool = True,
    seed: int = 0,
    settings: MomentRangeSettings = MomentRangeSettings(),
) -> list[str]:
    """Sets the ranges of all weights, and of the activations whose moments are known.

    The input's range is that of all pixels, normalised. A network without BatchNorm gets its weights' ranges only.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        input_spec: Shape and normalisation of the input.
        ranges: Name of a rule in `dfq.quantizers.range_rules.RANGES`.
        weights: Whether the ranges of weights are set; False where that was done before.
        seed: Seed of the draws.
        settings: Settings of the ranges.

    Returns:
        Names of the activation quantizers that were left as they are, as in
        `dfq.student.convert.activation_quantizers`.

    Raises:
        DfqError: The rule is unknown, or values are not finite.
    """
    if weights:
        calibrate_weights(student, ranges)
    tensors = activation_quantizers(student)
    if not any(OUTPUT_MOMENTS in node.meta for node in student.graph.nodes):
        return list(tensors)
    generator, drawn = torch.Generator().manual_seed(seed), settings.drawn
    with quantizers_in_mode(student, "observe"):
        observers = attach_observers(tensors, settings.samples_per_tensor // drawn.passes, seed)
        for _ in range(drawn.passes):
            run = MomentInterpreter(student, generator, drawn)
            run.run(pixels(student, input_spec, generator, drawn.maps))
    known = {str(node.target).removeprefix(f"{QUANTIZERS}.") for node in run.known}
    for name in known.intersection(tensors):
        fit_range(tensors[name], observers[name].values(), ranges, name)
    return [name for name in tensors if name not in known]


def pixels(network: fx.GraphModule, input_spec: InputSpec, generator: torch.Generator, count: int) -> Tensor:
    """Returns normalised images (count, C, H, W) of uniform noise, with one black and one white pixel."""
    noise = torch.rand(count, *input_spec.size, generator=generator)
    noise[0, :, 0, 0], noise[1, :, 0, 0] = 0.0, 1.0
    return input_spec.normalize(noise.to(next(network.parameters()).device))


def known_nodes(network: fx.GraphModule) -> set[fx.Node]:
    """Returns the nodes whose output is drawn, or computed from nothing but drawn maps and the input.

    In a network without BatchNorm, these are the input and what is computed from it without a layer.
    """
    known: set[fx.Node] = set()
    for node in network.graph.nodes:
        is_layer = is_matrix_layer(node, network)
        was_norm = is_layer and getattr(network.get_submodule(str(node.target)), WAS_NORM, False)
        reads_known = known.issuperset(node.all_input_nodes)
        if (reads_known and (was_norm or not is_layer)) or (is_layer and OUTPUT_MOMENTS in node.meta):
            known.add(node)
    return known


class MomentInterpreter(fx.Interpreter):
    """Runs a traced network whose layers with known moments give Gaussian maps instead of their output.

    Args:
        network: Traced network.
        generator: Source of the random numbers.
        settings: How maps are drawn.

    Attributes:
        known: The nodes of `known_nodes`.
    """

    def __init__(
        self, network: fx.GraphModule, generator: torch.Generator, settings: DrawnMapSettings = DrawnMapSettings()
    ):
        super().__init__(network)
        self.network, self.generator, self.settings = network, generator, settings
        self.known = known_nodes(network)

    def run_node(self, n: fx.Node) -> Any:
        is_layer = is_matrix_layer(n, self.network)
        was_norm = is_layer and getattr(self.network.get_submodule(str(n.target)), WAS_NORM, False)
        if was_norm and self.known.issuperset(n.all_input_nodes):
            return self._standardized(super().run_node(n), n)
        if is_layer and OUTPUT_MOMENTS in n.meta:
            return self._gaussian(n)
        return super().run_node(n)

    def _standardized(self, maps: Tensor, node: fx.Node) -> Tensor:
        """Returns what a lone BatchNorm makes of drawn maps, with the moments that it is known to give.

        Behind a ReLU, for example, channels keep their one-sided shape.
        """
        if OUTPUT_MOMENTS not in node.meta:
            return maps
        layer = self.network.get_submodule(str(node.target))
        mean, deviation = (moment.to(maps) for moment in node.meta[OUTPUT_MOMENTS])
        found_mean, found_deviation = channel_moments(maps, layer)
        factor = torch.where(found_deviation > 0, deviation / found_deviation.clamp(min=1e-30), 0.0)
        offset = mean - factor * found_mean
        return maps * along_channels(factor, maps, layer) + along_channels(offset, maps, layer)

    def _gaussian(self, node: fx.Node) -> Tensor:
        """Returns maps (M, C, …) of the node's shape, whose channels have its moments."""
        maps, between_images = self.settings.maps, self.settings.between_images
        device = next(self.network.parameters()).device
        mean, deviation = (moment.to(device) for moment in node.meta[OUTPUT_MOMENTS])
        layer = self.network.get_submodule(str(node.target))
        shape = (maps, *node.meta["tensor_meta"].shape[1:])
        of_image = torch.randn(maps, len(mean), generator=self.generator)
        noise = torch.randn(shape, generator=self.generator).mul_((1 - between_images) ** 0.5)
        of_image = of_image.view(maps, *along_channels(mean, noise, layer).shape[1:])
        noise = noise.add_(of_image, alpha=between_images**0.5).to(device)
        return noise * along_channels(deviation, noise, layer) + along_channels(mean, noise, layer)
