"""`IncrementSettings`: what a user may choose about an increment."""

from dataclasses import dataclass
from math import inf

from dfq.errors import DfqError
from dfq.jobs.increment.strategies import STRATEGIES, Strategy
from dfq.jobs.settings import JobSettings


@dataclass(frozen=True, kw_only=True)
class IncrementSettings(JobSettings):
    """The settings of `dfq increment`; each field is the option of the same name.

    Attributes:
        strategy: How the old classes are kept while new ones are learned.
        images: Number of synthetic images of the old classes.
        steps: Number of training steps.
        learning_rate: First learning rate of Adam, which falls to 0 by a cosine. It is small because the network has
            been trained already.
        batch_size: Number of new images in one training step; as many synthetic images are replayed.
    """

    strategy: str = "rgal"
    images: int = 512
    steps: int = 400
    learning_rate: float = 1e-3
    batch_size: int = 64

    def __post_init__(self):
        super().__post_init__()
        if self.strategy not in STRATEGIES:
            raise DfqError(f"strategy {self.strategy!r}", f"one of {', '.join(STRATEGIES)}", "see dfq increment --help")
        for name, least in (("images", 2), ("steps", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise DfqError(
                    f"{getattr(self, name)} {name}", f"at least {least}", f"for example --{name.replace('_', '-')} 400"
                )
        if not 0 < self.learning_rate < inf:
            raise DfqError(f"a learning rate of {self.learning_rate}", "a positive number", "--learning-rate 0.001")

    @property
    def chosen_strategy(self) -> Strategy:
        """The strategy in use."""
        return STRATEGIES[self.strategy]


@dataclass(frozen=True, kw_only=True)
class IncrementDefaults:
    """The values of an increment that no option sets.

    Attributes:
        synthesis_share: Share of a budget in which images of the old classes are made, in [0, 1].
        clip_norm: Largest L2 norm of the gradient.
        shift: Images are shifted by up to height ÷ this, in pixels.
    """

    synthesis_share: float = 0.4
    clip_norm: float = 1.0
    shift: int = 10


INCREMENT_DEFAULTS = IncrementDefaults()
