"""`QuantizeDefaults`: the values that `dfq quantize` uses where its settings leave something open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dfq.images.input_spec import InputSpec, is_large


def _steps() -> Mapping[int, int]:
    return MappingProxyType({2: 600, 3: 600, 4: 400, 5: 400, 6: 400, 7: 400, 8: 200})


@dataclass(frozen=True, kw_only=True)
class QuantizeDefaults:
    """Numbers that depend on the network and on the bits; "large" images have more than 64 pixels a side.

    Attributes:
        images: Number of synthetic images of up to 64 pixels a side.
        images_8_bits: Number of these images where everything has 8 bits, which costs next to no accuracy.
        images_large_in_budget: Largest number of large images within a time budget; the clock usually ends their
            synthesis earlier.
        held_out_share: One synthetic image in this many is held out and never trained on.
        held_out_most: Largest number of synthetic images that are held out.
        synthesis_batch: Number of images that are synthesized together; their joint statistics are matched.
        synthesis_batch_large: Number of large images that are synthesized together.
        synthesis_batch_large_gpu: Number of large images that are synthesized together on a GPU
            (`benchmarks/RESULTS.md`, "On a GPU").
        synthesis_shift: Images are shifted by up to height ÷ this, in pixels, while they are synthesized.
        training_batch: Number of images in one training step.
        training_batch_large: Number of large images in one training step.
        training_shift: Images are shifted by up to height ÷ this, in pixels, while the student learns.
        steps: Number of training steps, by the fewest bits of the student.
        calibrated: Largest number of images that the first ranges are fitted to.
        choosing_share: Share of the time left after synthesis in which mixed widths are chosen, in [0, 1].
        too_short: Seconds of a budget below which `auto` takes `instant`, because there is no time for images that are
            worth learning from.
        few_large: Number of large images below which block reconstruction overfits (decision record 0017).
        wide: Fewest bits at which `auto` takes `instant` where there are fewer than `few_large` large images, because
            it does better there.
    """

    images: int = 1024
    images_8_bits: int = 256
    images_large_in_budget: int = 2048
    held_out_share: int = 8
    held_out_most: int = 256
    synthesis_batch: int = 256
    synthesis_batch_large: int = 32
    synthesis_batch_large_gpu: int = 128
    synthesis_shift: int = 16
    training_batch: int = 128
    training_batch_large: int = 32
    training_shift: int = 10
    steps: Mapping[int, int] = field(default_factory=_steps)
    calibrated: int = 256
    choosing_share: float = 0.2
    too_short: float = 30.0
    few_large: int = 128
    wide: int = 6

    def held_out_of(self, images: int) -> int:
        """Returns how many of so many synthetic images are held out; at least 1."""
        return min(max(images // self.held_out_share, 1), self.held_out_most)

    def synthesis_batch_of(self, input_spec: InputSpec, *, on_gpu: bool) -> int:
        """Returns how many images of that size are synthesized together."""
        if not is_large(input_spec.size):
            return self.synthesis_batch
        return self.synthesis_batch_large_gpu if on_gpu else self.synthesis_batch_large

    def training_batch_of(self, input_spec: InputSpec) -> int:
        """Returns how many images of that size a training step takes."""
        return self.training_batch_large if is_large(input_spec.size) else self.training_batch


QUANTIZE_DEFAULTS = QuantizeDefaults()
