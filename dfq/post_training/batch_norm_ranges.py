"""Ranges of activations from BatchNorm's parameters alone, without any image.

BatchNorm leaves channel c with mean β_c and standard deviation |γ_c| (Nagel et al., ICCV 2019, section 4.2.1, uses that
for its analytic bias correction). So a layer with BatchNorm need not be run: Gaussian maps with these moments stand for
its output. Everything else (ReLU, ReLU6, addition, concatenation, pooling, …) computes with those maps as it is, and
what passes each quantizer is what its grid is fitted to.

Assumptions: Gaussian tails; channels and layers are independent of each other, so that a residual addition adds means
and variances; and half of a channel's variance is between images, half between pixels, which only pooling notices.
Behind a layer without BatchNorm nothing is known, until the next BatchNorm.
"""

from typing import Any

import torch
from torch import Tensor, fx

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS, WAS_NORM
from dfq.graph.layer_outputs import along_channels, channel_moments, is_matrix_layer
from dfq.graph.operators import QUANTIZERS
from dfq.images.input_spec import InputSpec
from dfq.student.convert import activation_quantizers
from dfq.student.set_ranges import (
    SAMPLES_PER_TENSOR,
    attach_observers,
    calibrate_weights,
    fit_range,
    quantizers_in_mode,
)

PASSES, MAPS = 4, 16  # passes over the network, and maps in each
BETWEEN_IMAGES = 0.5  # share of a channel's variance that all pixels of an image have in common


@torch.no_grad()
def calibrate_from_moments(
    student: fx.GraphModule, input_spec: InputSpec, *, ranges: str = "mse", seed: int = 0
) -> list[str]:
    """Sets the ranges of all weights, and of the activations whose moments are known.

    The input's range is that of all pixels, normalised. A network without BatchNorm gets its weights' ranges only.

    Args:
        ranges: a rule of `dfq.quantizers.range_rules.RANGES`.

    Returns:
        Names of the activation quantizers that were left as they are, as in
        `dfq.student.convert.activation_quantizers`.

    Raises:
        DfqError: an unknown rule, or values that are not finite.
    """
    calibrate_weights(student, ranges)
    tensors = activation_quantizers(student)
    if not any(OUTPUT_MOMENTS in node.meta for node in student.graph.nodes):
        return list(tensors)
    generator = torch.Generator().manual_seed(seed)
    with quantizers_in_mode(student, "observe"):
        observers = attach_observers(tensors, SAMPLES_PER_TENSOR // PASSES, seed)
        for _ in range(PASSES):
            run = MomentInterpreter(student, generator)
            run.run(pixels(student, input_spec, generator))
    known = {str(node.target).removeprefix(f"{QUANTIZERS}.") for node in run.known}
    for name in known.intersection(tensors):
        fit_range(tensors[name], observers[name].values(), ranges, name)
    return [name for name in tensors if name not in known]


def pixels(network: fx.GraphModule, input_spec: InputSpec, generator: torch.Generator) -> Tensor:
    """Normalised images (MAPS, C, H, W) of uniform noise, with one black and one white pixel."""
    noise = torch.rand(MAPS, *input_spec.size, generator=generator)
    noise[0, :, 0, 0], noise[1, :, 0, 0] = 0.0, 1.0
    return input_spec.normalize(noise.to(next(network.parameters()).device))


class MomentInterpreter(fx.Interpreter):
    """Runs a traced network whose layers with known moments give Gaussian maps instead of their output.

    Attributes:
        known: nodes whose output was drawn, or computed from nothing but drawn maps and the input.
    """

    def __init__(self, network: fx.GraphModule, generator: torch.Generator):
        super().__init__(network)
        self.network, self.generator = network, generator
        self.known: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        is_layer = is_matrix_layer(n, self.network)
        was_norm = is_layer and getattr(self.network.get_submodule(str(n.target)), WAS_NORM, False)
        reads_known = self.known.issuperset(n.all_input_nodes)
        if was_norm and reads_known:
            self.known.add(n)
            return self._standardized(super().run_node(n), n)
        if is_layer and OUTPUT_MOMENTS in n.meta:
            self.known.add(n)
            return self._gaussian(n)
        if not is_layer and reads_known:
            self.known.add(n)
        return super().run_node(n)

    def _standardized(self, maps: Tensor, node: fx.Node) -> Tensor:
        """What a lone BatchNorm makes of drawn maps, with the moments that it is known to give.

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
        """Maps (MAPS, C, …) of the node's shape, whose channels have its moments."""
        device = next(self.network.parameters()).device
        mean, deviation = (moment.to(device) for moment in node.meta[OUTPUT_MOMENTS])
        layer = self.network.get_submodule(str(node.target))
        shape = (MAPS, *node.meta["tensor_meta"].shape[1:])
        of_image = torch.randn(MAPS, len(mean), generator=self.generator)
        noise = torch.randn(shape, generator=self.generator).mul_((1 - BETWEEN_IMAGES) ** 0.5)
        of_image = of_image.view(MAPS, *along_channels(mean, noise, layer).shape[1:])
        noise = noise.add_(of_image, alpha=BETWEEN_IMAGES**0.5).to(device)
        return noise * along_channels(deviation, noise, layer) + along_channels(mean, noise, layer)
