"""What a cell of the benchmark is."""

from dataclasses import dataclass, replace

from dfq.calibration import METHODS, Method
from dfq.jobs.quantize.settings import MIXED, Settings
from dfq.post_training.steps_after_ranges import Reconstruct

NET = "resnet20"
SCHEME = "deploy"


@dataclass(frozen=True)
class Cell:
    """One point, and the work that is done for it.

    Attributes:
        mixed: Whether each layer has its own width.
        bits: The bits of every weight, or of the average weight where `mixed`.
        method: The name of the method.
        seed: The seed of images and training.
        images: The number of images to learn from.
        iterations: The number of iterations for each block.
        steps: The number of steps of end-to-end training.
    """

    mixed: bool
    bits: float
    method: str
    seed: int
    images: int
    iterations: int
    steps: int

    @property
    def name(self) -> str:
        """What the cell is, in words."""
        return f"{'mixed' if self.mixed else 'uniform'} {self.bits:g} {self.method} seed {self.seed}"

    def settings(self) -> Settings:
        """Returns the settings of the run."""
        widths = {"bits": MIXED, "average_bits": self.bits} if self.mixed else {"weight_bits": int(self.bits)}
        common = {"scheme": SCHEME, "seed": self.seed, "images": self.images, "steps": self.steps}
        return Settings(**widths, **common, method=self._method())

    def _method(self) -> Method:
        """Returns the method; its blocks are fitted for as many iterations as the cell says."""
        row = METHODS[self.method]
        steps = [
            replace(step, settings=replace(step.settings, iterations=self.iterations))
            if isinstance(step, Reconstruct) else step
            for step in row.post_training
        ]  # fmt: skip
        return replace(row, post_training=tuple(steps))
