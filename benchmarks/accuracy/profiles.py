"""The profiles of the benchmark: which cells there are, and the work that is equal for all methods of a profile."""

from dataclasses import dataclass, field

from benchmarks.common.nets import DIGITS


@dataclass(frozen=True)
class Profile:
    """Equal work for all methods.

    Attributes:
        cells: The network, the scheme, the bits and the method of each cell.
        seeds: The number of seeds that each cell is run with.
        settings: Fields of `dfq.jobs.quantize.settings.Settings`.
        own: Further settings of single methods, by the method's name.
        core_seconds: A time budget, which the threads share.
    """

    cells: tuple[tuple[str, str, int, str], ...]
    seeds: int
    settings: dict = field(default_factory=dict)
    own: dict = field(default_factory=dict)
    core_seconds: float | None = None


FORMS = (("deploy", 4), ("deploy", 3), ("paper-qat", 4), ("paper-qat", 3), ("paper-qat", 2))
COMPARED = (
    "rgal-zeroq", "zeroq-kd", "gdfq", "rgal", "rgal-gdfq", "real-1024", "real-1024-rgal", "gdfq-published", "zeroq",
    "qimera", "rgal-published",
)  # fmt: skip
PROFILES: dict[str, Profile] = {
    "default": Profile(
        (
            *(("resnet20", *form, "zeroq-kd") for form in (("paper-qat", 3), ("deploy", 4), ("deploy", 8))),
            *(("resnet20", "paper-qat", bits, "zeroq-kd") for bits in (4,)),
            *(("resnet20", "paper-qat", bits, "real-10000") for bits in (3, 4)),
        ),
        seeds=1,
    ),
    "5m": Profile(
        tuple(("resnet20", "paper-qat", bits, method) for bits in (2, 3, 4) for method in COMPARED),
        seeds=3,
        settings={"images": 1024, "steps": 600},
        own={"zeroq": {"images": 64}},  # as published: it only calibrates
    ),
    "5m-resnet56": Profile(
        tuple(("resnet56", "paper-qat", bits, method) for bits in (3, 2) for method in ("rgal-zeroq", "zeroq-kd")),
        seeds=1,
        settings={"images": 512, "steps": 300},
    ),
    "15m": Profile(
        tuple(("resnet20", "paper-qat", 3, method) for method in ("rgal-zeroq", "rgal", "gdfq", "zeroq-kd")),
        seeds=3,
        settings={"images": 3072, "steps": 1800},
    ),
    "digits": Profile(  # the teacher of `dfq demo`: 8×8 pixels, minutes for all of it
        tuple(
            (DIGITS, "paper-qat", bits, method)
            for bits in (4, 3, 2)
            for method in ("rgal-zeroq", "zeroq-kd", "gdfq", "rgal", "real-1024")
        ),
        seeds=3,
        settings={"images": 1024, "steps": 600, "flip": False},
    ),
    "instant": Profile(
        tuple(
            (net, "deploy", bits, method)
            for net in ("resnet20", "resnet56", "mobilenet_v2", "mobilenet_v1_0.25", "efficientnet_lite0")
            for bits in (8, 6, 4)
            for method in ("instant", "naive")
        ),
        seeds=1,
    ),
    "auto": Profile(
        (
            *(("resnet20", *form, "auto") for form in FORMS),
            *(("resnet20", *form, "real-1024-reconstruct") for form in FORMS[1:]),
        ),
        seeds=3,
    ),
    "auto-parts": Profile(  # beside `auto` and `5m`; blocks without the polish are an arm of `benchmarks.ingredients`
        tuple(("resnet20", "paper-qat", bits, "instant") for bits in (4, 3, 2)),
        seeds=3,
    ),
    "auto-60s": Profile((("resnet20", "deploy", 4, "auto"),), seeds=3, settings={"budget": 60.0}),
    "auto-resnet56": Profile(
        (
            *(("resnet56", *form, "auto") for form in FORMS),
            ("resnet56", "paper-qat", 3, "real-1024-reconstruct"),
        ),
        seeds=1,
    ),
    "auto-mobilenet": Profile(
        (
            *(("mobilenet_v2", "deploy", bits, "auto") for bits in (4, 6, 8)),
            *(("mobilenet_v1_0.25", "deploy", bits, "auto") for bits in (8, 6)),
        ),
        seeds=1,
        core_seconds=3600.0,
    ),
    "auto-20m": Profile((("efficientnet_lite0", "deploy", 4, "auto"),), seeds=1, core_seconds=2400.0),
    "auto-60m": Profile(
        tuple((net, "deploy", 4, "auto") for net in ("mobilenet_v2", "efficientnet_lite0")),
        seeds=1,
        core_seconds=7200.0,
    ),
    "gpu": Profile(  # the published budgets
        tuple(
            ("resnet20", "paper-qat", bits, method) for method in ("gdfq-published", "gdfq", "rgal") for bits in (4, 3)
        ),
        seeds=1,
        settings={"steps": 80_000},
        own={"rgal": {"images": 51_200}},
    ),
}


@dataclass(frozen=True)
class Cell:
    """One number of the table: one run of one method with one seed."""

    profile: str
    net: str
    scheme: str
    bits: int
    seed: int
    method: str

    def name(self) -> str:
        """Returns the words that the option `--only` matches."""
        return f"{self.profile} {self.net} W{self.bits}A{self.bits} {self.scheme} seed {self.seed} {self.method}"


def cells_of(name: str) -> list[Cell]:
    """Returns the cells of a profile; those of the first seed come first."""
    profile = PROFILES[name]
    return [
        Cell(name, net, scheme, bits, seed, method)
        for seed in range(profile.seeds)
        for net, scheme, bits, method in profile.cells
    ]
