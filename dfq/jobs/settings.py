"""`JobSettings`: what a user may choose about every job."""

from dataclasses import dataclass

from dfq.errors import DfqError


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """The settings that all jobs have.

    Attributes:
        flip: Whether a mirrored image has the same class. Switch it off for digits, letters and traffic signs.
        budget: Time limit for the whole job; a plain number counts seconds. None: no limit.
        seed: Seed of every random draw.
    """

    flip: bool = True
    budget: float | None = None
    seed: int = 0

    def __post_init__(self):
        if self.budget is not None and self.budget <= 0:
            raise DfqError(f"a budget of {self.budget} seconds", "a positive time", "for example --budget 5m")
