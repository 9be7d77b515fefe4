"""The profiles of the benchmark: which cells there are, and the work that is equal for all methods of a profile."""

from dataclasses import dataclass, field, replace
from functools import partial

from benchmarks.common.nets import DIGITS
from benchmarks.distill.relations import ARMS
from dfq.calibration import METHODS, Method
from dfq.calibration.generators.rdskd import RDSKD, RDSKDConfig

DIGITS_STUDENT = "benchmarks/distill/digits_student.py:digits_student"
ALL = ("rgal", "zeroq-kd", "gdfq", "adadfkd", "rdskd", "retain")
SHORT_RDSKD = replace(  # the published 2400 steps of its generator are four times as much as all others' synthesis
    METHODS["rdskd"], synthesizer=partial(RDSKD, RDSKDConfig(warm_up=600))
)


@dataclass(frozen=True)
class Profile:
    """Equal work for all methods.

    Attributes:
        teacher: The name of the teacher's network.
        student: The architecture of the student.
        seeds: The number of seeds that each method is run with.
        settings: Fields of `dfq.jobs.distill.DistillSettings`.
        methods: The names of the methods.
        rows: Methods in place of those of `METHODS`, by name.
    """

    teacher: str
    student: str
    seeds: int
    settings: dict
    methods: tuple[str, ...] = ALL
    rows: dict[str, Method] = field(default_factory=dict)


PROFILES: dict[str, Profile] = {
    "digits": Profile(DIGITS, DIGITS_STUDENT, 3, {"images": 1024, "steps": 4000, "flip": False}),
    "digits-more": Profile(
        DIGITS,
        DIGITS_STUDENT,
        3,
        {"images": 1024, "steps": 4000, "flip": False},
        methods=("qimera", "dafl", "cmi-inversion"),
    ),
    # RGAL's parts one by one, and accuracy against the number of images.
    **{
        f"relations-{images}": Profile(
            DIGITS,
            DIGITS_STUDENT,
            3,
            {"images": images, "steps": 4000, "start": "random", "flip": False},
            methods=tuple(ARMS),
            rows=ARMS,
        )
        for images in (512, 2048, 8192)
    },
    "relations-cifar": Profile(
        "resnet56",
        "dfq/wrn16_1",
        3,
        {"images": 512, "steps": 1500, "start": "random"},
        methods=("base", "disagreement 0.3", "disagreement 0.3, both 0.3"),
        rows=ARMS,
    ),
    "10m": Profile("resnet56", "dfq/resnet20", 2, {"images": 512, "steps": 1000}, rows={"rdskd": SHORT_RDSKD}),
    "10m-random": Profile(
        "resnet56",
        "dfq/resnet20",
        2,
        {"images": 512, "steps": 1000, "start": "random"},
        rows={"rdskd": SHORT_RDSKD},
    ),
    "long": Profile("resnet56", "dfq/resnet20", 1, {"images": 1024, "steps": 3000}),
    "gpu": Profile(
        "resnet56", "dfq/resnet20", 1, {"images": 51_200, "steps": 80_000, "start": "random"}
    ),  # as published
    "smoke": Profile(
        DIGITS,
        DIGITS_STUDENT,
        1,
        {"images": 16, "steps": 4, "flip": False, "budget": 10.0},
    ),
}


@dataclass(frozen=True)
class Cell:
    """One run of one method with one seed."""

    profile: str
    method: str
    seed: int

    def name(self) -> str:
        """Returns the words that the option `--only` matches."""
        return f"{self.profile} {self.method} seed {self.seed}"


def cells_of(name: str) -> list[Cell]:
    """Returns the cells of a profile; those of the first seed come first."""
    profile = PROFILES[name]
    return [Cell(name, method, seed) for seed in range(profile.seeds) for method in profile.methods]
