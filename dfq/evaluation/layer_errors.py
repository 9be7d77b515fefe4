"""How far each layer of a student is from the same layer of its teacher, on synthetic images, in dB."""

from collections import defaultdict

import torch
from torch import Tensor, fx

from dfq.evaluation.settings import LayerErrorSettings
from dfq.evaluation.signal_to_noise import ratio_in_db
from dfq.graph.layer_outputs import LayerSteps
from dfq.images.input_spec import is_large


@torch.no_grad()
def layer_errors(
    student: fx.GraphModule,
    reference: fx.GraphModule,
    images: Tensor,
    *,
    settings: LayerErrorSettings = LayerErrorSettings(),
) -> dict[str, float]:
    """Returns the signal-to-noise ratio of each layer's output, in dB, by the name of the layer in their order.

    The student reads its own tensors, so a ratio counts the errors of all layers in front, too. Both networks run side
    by side and only sums of squares are kept, so the memory is that of two passes.

    Args:
        student: Student in evaluation mode.
        reference: The teacher's graph, rewritten like the student (`dfq.post_training.steps_before_ranges.prepare`).
        images: Normalised images that the student was not fitted to, (N, C, H, W).
        settings: How many images are looked at, and how many at once.

    Returns:
        Ratios from −150 to 150. Layers that are called twice are left out, and so are those of one network alone.
    """
    batch_size = settings.batch_size_large if is_large(images.shape) else settings.batch_size
    signal: dict[str, float] = defaultdict(float)
    noise: dict[str, float] = defaultdict(float)
    for batch in images[: settings.images].split(batch_size):
        pairs = zip(LayerSteps(student).outputs(batch), LayerSteps(reference).outputs(batch), strict=False)
        for (name, found), (other, expected) in pairs:
            if name != other:
                break
            right = expected.double()
            signal[name] += float(right.square().sum())
            noise[name] += float((found.double() - right).square().sum())
    return {name: ratio_in_db(power, noise[name]) for name, power in signal.items()}
