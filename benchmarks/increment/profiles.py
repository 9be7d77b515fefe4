"""The profiles of the benchmark: which classes come in which session, and the work that is equal for all strategies."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfq.images.input_spec import InputSpec
from dfq.images.labelled import Labelled
from dfq.jobs.demo import digits
from dfq.jobs.increment import STRATEGIES
from dfq.models.registry import DIGITS_INPUT

CIFAR_INPUT = InputSpec(size=(3, 32, 32), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def cifar(folder: Path, part: str) -> Labelled:
    """Reads the "training" or the "held-out" images of CIFAR-10 from the data folder."""
    file = {"training": "train_10000.npz", "held-out": "test_1000.npz"}[part]
    with np.load(folder / "cifar10" / file, allow_pickle=False) as found:
        return Labelled(found["images"], found["labels"].astype(np.int64))


@dataclass(frozen=True)
class Source:
    """Images of ten classes, and the network that learns them; the first five are the ones it starts with.

    Attributes:
        read: Returns the images, given the data folder and "training" or "held-out".
        arch: The architecture of the network.
        input_spec: The input of the network.
        steps: The steps of the first network's training, by AdamW in batches of 64.
        learning_rate: The learning rate of that training.
        shift: The pixels by which that training shifts images at most.
        flip: Whether images are mirrored, in that training and in the sessions.
        autocast: Whether that training is in bfloat16 where the hardware has it.
    """

    read: Callable[[Path, str], Labelled]
    arch: str
    input_spec: InputSpec
    steps: int
    learning_rate: float
    shift: int
    flip: bool
    autocast: bool


SOURCES = {
    "digits": Source(
        lambda folder, part: digits(part), "dfq/digits_cnn", DIGITS_INPUT, 400, 0.005, 1, flip=False, autocast=False
    ),
    "cifar": Source(cifar, "dfq/resnet20", CIFAR_INPUT, 4000, 0.002, 4, flip=True, autocast=True),
}


@dataclass(frozen=True)
class Profile:
    """Equal work for all strategies.

    Attributes:
        source: A key of `SOURCES`.
        sessions: The new classes of each session.
        seeds: The number of seeds that each strategy is run with.
        settings: Fields of `dfq.jobs.increment.IncrementSettings`, the same for each session.
    """

    source: str
    sessions: tuple[tuple[int, ...], ...]
    seeds: int = 3
    settings: dict = field(default_factory=dict)


ALL_AT_ONCE = ((5, 6, 7, 8, 9),)
ONE_BY_ONE = ((5,), (6,), (7,), (8,), (9,))
PROFILES = {
    "digits-5+5": Profile("digits", ALL_AT_ONCE, settings={"images": 256}),
    "digits-5+1x5": Profile("digits", ONE_BY_ONE, settings={"images": 256, "steps": 200}),
    "cifar-5+5": Profile("cifar", ALL_AT_ONCE, seeds=1, settings={"images": 1024, "steps": 800}),
    "smoke": Profile("digits", ONE_BY_ONE[:2], seeds=1, settings={"images": 4, "steps": 2, "budget": 10.0}),
}


@dataclass(frozen=True)
class Cell:
    """One row of the results: one seed of one strategy over all sessions."""

    profile: str
    strategy: str
    seed: int

    def name(self) -> str:
        """Returns the words that the option `--only` matches."""
        return f"{self.profile} {self.strategy} seed {self.seed}"


def cells_of(name: str) -> list[Cell]:
    """Returns the cells of a profile; those of the first seed come first."""
    return [Cell(name, strategy, seed) for seed in range(PROFILES[name].seeds) for strategy in STRATEGIES]
