"""Which batches one call of `Inversion.sample` makes, and how many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from dfq.calibration.inversion.config import InversionConfig
from dfq.system.processes import processes


@dataclass(frozen=True)
class Plan:
    """The batches of one call, in order.

    Attributes:
        sizes: Number of images of each batch.
        kinds: Kind of each batch.
    """

    sizes: tuple[int, ...]
    kinds: tuple[InversionConfig, ...]

    @classmethod
    def of(cls, count: int, kinds: Sequence[InversionConfig], batch_size: int, made_before: int) -> "Plan":
        """Returns the plan of `count` images.

        Args:
            count: Number of images.
            kinds: Kinds that batches have in turn.
            batch_size: Largest number of images in a batch; a kind may ask for fewer.
            made_before: Number of batches of earlier calls, which the turns go on from.
        """
        together = min(batch_size, *(kind.together or batch_size for kind in kinds))
        sizes = tuple(min(together, count - i) for i in range(0, count, together))
        return cls(sizes, tuple(kinds[(made_before + i) % len(kinds)] for i in range(len(sizes))))

    @property
    def at_once(self) -> int:
        """The number of batches that are made at once: one for each process, but one where batches build on others."""
        return 1 if any(kind.matching.aggregated for kind in self.kinds) else processes().count

    def own(self, first: int) -> int | None:
        """Returns which of the batches that are made at once, from `first` on, this process makes; None: none."""
        rank = processes().rank
        return first + rank if rank < min(self.at_once, len(self.sizes) - first) else None

    def steps(self, batches: slice) -> int:
        """Returns the number of steps of some of the batches."""
        return sum(kind.iterations for kind in self.kinds[batches])
