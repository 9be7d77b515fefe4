"""The profiles: which networks, formats, methods and arms are measured."""

from dataclasses import dataclass, field, replace

from benchmarks.without_statistics.images import HALVES, REAL, SHORT_HALVES, STATISTICS
from dfq.calibration import METHODS, Method


def in_units_of(method: Method, layers: int) -> Method:
    """Returns a method of block reconstruction whose blocks are modules of at most so many layers."""
    (step,) = method.post_training
    return replace(method, post_training=(replace(step, whole=replace(step.whole, max_layers=layers)),))


def with_fit(method: Method, iterations: int) -> Method:
    """Returns a method of block reconstruction with that many iterations for each block."""
    (step,) = method.post_training
    large = replace(step.large, iterations=iterations)
    return replace(
        method, post_training=(replace(step, settings=replace(step.settings, iterations=iterations), large=large),)
    )


@dataclass(frozen=True)
class Profile:
    """Cells of equal work.

    Attributes:
        cells: Network, bits of weights and of activations, method, number of images, and arms, of each group of cells.
        seeds: Number of seeds of each cell.
        settings: Fields of `dfq.jobs.quantize.settings.Settings`.
    """

    cells: tuple[tuple[str, int, int, str, int, tuple[str, ...]], ...]
    seeds: int = 1
    settings: dict = field(default_factory=dict)


CALIBRATION = ("default", "leaves", "fractals", "noise", REAL, "statistics random")
ABLATION = ("noise", "noise ce", "noise ce tv", "leaves", "leaves ce", "leaves ce tv", "leaves ce tv excite")
ATTENTION = ("leaves ce tv prior", "leaves ce tv patches", "leaves ce tv heads", "psaq 8", "psaq 100")
FOLDED = ("mobilenet_v1_0.25", "efficientnet_lite0", "mobilenet_v2", "resnet20", "resnet56")
STARTS = {
    "resnet20": (4,),
    "resnet56": (4,),
    "mobilenet_v1_0.25": (8, 6),
    "efficientnet_lite0": (6,),
    "mobilenet_v2": (6,),
}
FITTED = (STATISTICS, "statistics leaves", "statistics leaves 50", HALVES)
# Methods of this benchmark alone: fewer iterations, and units of attention and MLP instead of encoder blocks.
SHORT, SMALL_UNITS, ENCODER_BLOCKS = "reconstruct-short", "reconstruct-small-units", "reconstruct-encoder-blocks"
OWN_METHODS = {
    SHORT: with_fit(METHODS["reconstruct"], iterations=400),
    SMALL_UNITS: in_units_of(with_fit(METHODS["reconstruct"], iterations=1600), layers=2),
    ENCODER_BLOCKS: with_fit(METHODS["reconstruct"], iterations=1600),
}
PROFILES: dict[str, Profile] = {
    "int8": Profile(tuple((net, 8, 8, "instant", 32, CALIBRATION) for net in FOLDED)),
    "ablation": Profile(
        (
            ("resnet20", 4, 4, "instant", 128, ABLATION),
            ("resnet56", 4, 4, "instant", 128, ABLATION),
            ("mobilenet_v1_0.25", 6, 6, "instant", 32, ABLATION),
            ("compact_vit", 4, 8, "instant", 128, (*ABLATION, *ATTENTION)),
            ("compact_convnext", 4, 8, "instant", 128, ABLATION),
        ),
        seeds=3,
    ),
    "start": Profile(
        tuple(
            (net, bits, bits, "instant", 32, ("statistics random", "statistics leaves"))
            for net, widths in STARTS.items()
            for bits in widths
        ),
        seeds=3,
    ),
    "fitted": Profile(
        (("mobilenet_v1_0.25", 4, 4, SHORT, 192, FITTED), ("resnet20", 3, 3, SHORT, 512, FITTED)),
        seeds=2,
        settings={"steps": 100},
    ),
    "shares": Profile(
        tuple(
            (net, 4, 4, SHORT, 192, (*FITTED, SHORT_HALVES))
            for net in ("efficientnet_lite0", "mobilenet_v2", "mobilenet_v1_0.25")
        ),
        seeds=3,
    ),
    "units": Profile(
        (
            ("compact_vit", 4, 4, ENCODER_BLOCKS, 256, ("default",)),
            ("compact_vit", 4, 4, SMALL_UNITS, 256, ("default",)),
        ),
        seeds=3,
        settings={"steps": 100},
    ),
    "low": Profile(
        (
            ("resnet20", 4, 4, "reconstruct", 1024, ("default", STATISTICS, REAL)),
            ("resnet20", 3, 3, "reconstruct", 1024, ("default", STATISTICS, REAL)),
        ),
    ),
    "large": Profile(
        tuple(("efficientnet_lite0", bits, bits, "reconstruct", 192, ("default", STATISTICS)) for bits in (4, 6)),
        settings={"budget": 720.0},
    ),
    "transformers": Profile(
        tuple(
            (net, *bits, method, count, ("default", "psaq 8", REAL) if net == "compact_vit" else ("default", REAL))
            for net in ("compact_vit", "compact_convnext")
            for bits, method, count in (
                ((8, 8), "instant", 32),
                ((4, 8), "reconstruct", 1024),
                ((4, 4), "reconstruct", 1024),
            )
        ),
        seeds=3,
        settings={"budget": 150.0},
    ),
}


@dataclass(frozen=True)
class Cell:
    """One student: one network, format, method, arm and seed."""

    profile: str
    net: str
    weight_bits: int
    activation_bits: int
    method: str
    count: int
    images: str
    seed: int

    def name(self) -> str:
        """Returns the words that the option `--only` matches."""
        form = f"W{self.weight_bits}A{self.activation_bits}"
        return f"{self.profile} {self.net} {form} {self.method} {self.count} {self.images} seed {self.seed}"


def cells_of(name: str) -> list[Cell]:
    """Returns the cells of a profile; those of the first seed come first."""
    return [
        Cell(name, net, weight_bits, activation_bits, method, count, images, seed)
        for seed in range(PROFILES[name].seeds)
        for net, weight_bits, activation_bits, method, count, arms in PROFILES[name].cells
        for images in arms
    ]
