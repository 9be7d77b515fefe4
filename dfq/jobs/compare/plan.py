"""The plan of a comparison: every method × variant × seed, with all other settings the same."""

from collections import Counter
from dataclasses import dataclass, field, replace

from dfq.errors import DfqError
from dfq.jobs.compare.compared_jobs import JOBS, Job
from dfq.jobs.distill import DistillSettings
from dfq.jobs.quantize.settings import Settings

MOST_SEEDS = 10_000  # Nobody waits for so many runs.
VARIED = ("method", "bits", "seed")


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        job: What is done.
        settings: The settings that `dfq quantize` or `dfq distill` would take.
        variant: Number of bits, or architecture of the student.
    """

    job: Job
    settings: Settings | DistillSettings
    variant: int | str

    @property
    def method(self) -> str:
        return self.settings.to_dict()["method"]

    @property
    def column(self) -> str:
        """The name of its column, such as "W4A4" or "dfq/resnet20"."""
        return self.job.column(self.settings, self.variant)

    @property
    def name(self) -> str:
        """The name of its sub-folder, such as "zeroq-w4a4-seed0" or "rgal-dfq-resnet20-seed0"."""
        column = self.column.lower().replace("/", "-").replace(".py:", "-")
        return f"{self.method}-{column}-seed{self.settings.seed}"

    @property
    def title(self) -> str:
        """The name that a reader sees, such as "zeroq W4A4 seed 0"."""
        return f"{self.method} {self.column} seed {self.settings.seed}"


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """A comparison, which is checked as a whole.

    Attributes:
        methods: Names of rows of `METHODS`.
        variants: Variants of the job: numbers of bits, or architectures of students
            (`dfq.jobs.compare.compared_jobs`).
        seeds: Number of seeds, which are 0, 1, …
        job: A row of `JOBS`.
        settings: Settings of every cell, of the job's class. Method, bits and seed are not used, and the budget is that
            of one cell.

    Raises:
        DfqError: A list is empty, a run would be done twice, or the settings refuse a value.
    """

    methods: tuple[str, ...]
    variants: tuple[int, ...] | tuple[str, ...]
    seeds: int = 3
    job: Job = JOBS["quantize"]
    settings: Settings | DistillSettings = field(default_factory=Settings)

    def __post_init__(self):
        if not self.methods or not self.variants:
            raise DfqError(
                "nothing to compare",
                f"at least one method and one {self.job.labels.column}",
                f"for example --methods zeroq-kd,rgal {self.job.example}",
            )
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise DfqError(f"{self.seeds} seeds", f"from 1 to {MOST_SEEDS}", "--seeds 3")
        names = Counter(cell.name for cell in self.cells)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise DfqError(f"the run {twice[0]} twice", "every run once", "leave repetitions out")

    @property
    def cells(self) -> list[Cell]:
        """All cells, seed by seed, so that a comparison that is stopped early has some runs of every method."""
        return [
            Cell(self.job, replace(self.job.settle(self.settings, variant), method=method, seed=seed), variant)
            for seed in range(self.seeds)
            for variant in self.variants
            for method in self.methods
        ]

    def columns(self, variants: list | None = None) -> list[str]:
        """Returns the name of each variant's column, such as "W4A4"."""
        return [
            self.job.column(self.job.settle(self.settings, variant), variant) for variant in variants or self.variants
        ]

    def axis(self) -> list[str]:
        """Returns the columns along the horizontal axis of a chart; the images of the first one are shown."""
        return self.columns(self.job.in_order(list(self.variants)))

    def to_dict(self) -> dict:
        """Returns what is compared, and the settings that all cells have in common."""
        return {
            "job": self.job.name,
            "methods": list(self.methods),
            "variants": list(self.variants),
            "seeds": self.seeds,
            **self.shared(),
        }

    def shared(self) -> dict:
        """Returns the settings that all cells have in common."""
        return {name: value for name, value in self.settings.to_dict().items() if name not in VARIED}
