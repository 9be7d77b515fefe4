"""Bias correction without images: each layer's mean output, and its spread, on maps drawn from BatchNorm's parameters.

What `dfq.post_training.bias_correction` measures on images is measured here on Gaussian maps with the moments that
BatchNorm leaves (`dfq.post_training.batch_norm_ranges`). This computes by sampling what Nagel et al., ICCV 2019,
section 4.2.1, compute analytically. Teacher and student read the same draws. A layer's input is drawn anew instead of
computed, as if the layers before it were already exact. So errors do not add up on the way, and no plausible image is
needed.
"""

import torch
from torch import Tensor, fx

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import channel_moments, matrix_calls
from dfq.images.input_spec import InputSpec
from dfq.post_training.batch_norm_ranges import MomentInterpreter, known_nodes, pixels
from dfq.post_training.bias_correction import Moments, correction, joined, scale_and_shift
from dfq.post_training.settings import DrawnMapSettings, MomentCorrectionSettings


@torch.no_grad()
def correct_from_moments(
    student: fx.GraphModule,
    reference: fx.GraphModule,
    input_spec: InputSpec,
    *,
    match_spread: bool = True,
    seed: int = 0,
    settings: MomentCorrectionSettings = MomentCorrectionSettings(),
) -> None:
    """Shifts the biases of a calibrated student, in place, and scales its channels where `match_spread`.

    Layers whose input does not come from such maps and the image alone stay as they are. So does a network without
    BatchNorm.

    Args:
        student: Calibrated student.
        reference: `Teacher.traced`, as the preparations left it.
        input_spec: Shape and normalisation of the input.
        match_spread: Whether the channels are scaled so that their standard deviations are the reference's.
        seed: Seed of the draws.
        settings: Settings of the correction.
    """
    if not any(OUTPUT_MOMENTS in node.meta for node in student.graph.nodes):
        return
    wanted, found = (moments_on_draws(each, input_spec, seed, settings.drawn) for each in (reference, student))
    for name, moments in found.items():
        largest = settings.largest_factor
        factor, shift = correction(wanted[name], moments, match_spread=match_spread, largest_factor=largest)
        scale_and_shift(student.get_submodule(name), factor, shift)


def layers_without_moments(network: fx.GraphModule) -> list[str]:
    """Returns the names of the layers that `correct_from_moments` leaves as they are.

    A layer that is called twice has no statistics of its own and is not among them.
    """
    layers = matrix_calls(network)
    if not any(OUTPUT_MOMENTS in node.meta for node in network.graph.nodes):
        return list(layers)
    known = known_nodes(network)
    return [name for name, node in layers.items() if not known.issuperset(node.all_input_nodes)]


def moments_on_draws(
    network: fx.GraphModule, input_spec: InputSpec, seed: int, settings: DrawnMapSettings = DrawnMapSettings()
) -> dict[str, Moments]:
    """Returns for each layer, by name, the moments of its output channels on drawn inputs."""
    generator, passes = torch.Generator().manual_seed(seed), settings.passes
    seen: dict[str, list[Moments]] = {}
    for _ in range(passes):
        interpreter = _Listening(network, generator, seen, settings)
        interpreter.run(pixels(network, input_spec, generator, settings.maps))
    share = torch.full((passes, 1), 1 / passes, device=next(network.parameters()).device)
    return {name: joined(moments, share) for name, moments in seen.items()}


class _Listening(MomentInterpreter):
    """Computes each layer on its drawn input, notes the moments of the output, and goes on with a drawn output."""

    def __init__(
        self,
        network: fx.GraphModule,
        generator: torch.Generator,
        seen: dict[str, list[Moments]],
        settings: DrawnMapSettings,
    ):
        super().__init__(network, generator, settings)
        self.layers = {node: name for name, node in matrix_calls(network).items()}
        self.seen = seen

    def run_node(self, n: fx.Node) -> Tensor:
        if n in self.layers and self.known.issuperset(n.all_input_nodes):
            output = fx.Interpreter.run_node(self, n)
            layer = self.network.get_submodule(str(n.target))
            self.seen.setdefault(self.layers[n], []).append(channel_moments(output, layer))
        return super().run_node(n)
