"""`IncrementSettings`: what a person may choose about an increment."""

from dataclasses import dataclass

from dfq.errors import DfqError
from dfq.jobs.increment.strategies import STRATEGIES, Strategy


@dataclass(frozen=True, kw_only=True)
class IncrementSettings:
    """What `dfq increment` takes; each field is the option of the same name.

    Attributes:
        strategy: name of a row of `STRATEGIES`.
        flip: mirrored images are allowed; switch off for digits, letters, traffic signs.
        images: synthetic images of the old classes.
        steps: training steps.
        budget: seconds for everything; None: no limit.
        learning_rate: of Adam, falling to 0 by a cosine. Small: the network knows something already.
        batch_size: new images per step; as many are replayed.
        seed: of every random draw.
    """

    strategy: str = "rgal"
    flip: bool = True
    images: int = 512
    steps: int = 400
    budget: float | None = None
    learning_rate: float = 1e-3
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self):
        if self.strategy not in STRATEGIES:
            raise DfqError(f"strategy {self.strategy!r}", f"one of {', '.join(STRATEGIES)}", "see dfq increment --help")
        for name, least in (("images", 2), ("steps", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise DfqError(f"{getattr(self, name)} {name}", f"at least {least}", f"for example --{name} 400")
        if self.budget is not None and self.budget <= 0:
            raise DfqError(f"a budget of {self.budget} seconds", "a positive time", "for example --budget 5m")

    @property
    def chosen_strategy(self) -> Strategy:
        return STRATEGIES[self.strategy]
