"""What is compared: every method × width × seed, with all other settings the same."""

from collections import Counter
from dataclasses import dataclass, field, replace

from dfq.errors import DfqError
from dfq.settings import Settings

VARIED = ("method", "bits", "seed")


@dataclass(frozen=True)
class Cell:
    """One run of a comparison; `settings` are those that `dfq quantize` would take."""

    settings: Settings

    @property
    def width(self) -> str:
        """ "W4A4"."""
        scheme = self.settings.make_scheme()
        return f"W{scheme.weight_bits}A{scheme.activation_bits}"

    @property
    def name(self) -> str:
        """ "zeroq-w4a4-seed0", its sub-folder."""
        return f"{self.settings.method}-{self.width.lower()}-seed{self.settings.seed}"

    @property
    def title(self) -> str:
        """ "zeroq W4A4 seed 0"."""
        return f"{self.settings.method} {self.width} seed {self.settings.seed}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A comparison, checked as a whole.

    Attributes:
        methods: rows of `METHODS`.
        bits: of weights and activations, each 2 to 8; `settings.weight_bits` or `.activation_bits` replaces one half.
        seeds: how many; they are 0, 1, …
        settings: of every cell; its method, bits and seed are not used. Its budget is that of one cell.

    Raises:
        DfqError: an empty list, a repetition, or a value that `Settings` refuses.
    """

    methods: tuple[str, ...]
    bits: tuple[int, ...]
    seeds: int = 3
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self):
        if not self.methods or not self.bits:
            raise DfqError("nothing to compare", "at least one method and one width", "--methods zeroq,zeroq-kd")
        if self.seeds < 1:
            raise DfqError(f"{self.seeds} seeds", "at least 1", "--seeds 3")
        names = Counter(cell.name for cell in self.cells)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise DfqError(f"the run {twice[0]} twice", "every method and every width once", "leave repetitions out")

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that a comparison that is stopped early has something of everything."""
        return [
            Cell(replace(self.settings, method=method, bits=bits, seed=seed))
            for seed in range(self.seeds)
            for bits in self.bits
            for method in self.methods
        ]

    @property
    def widths(self) -> list[str]:
        """One per entry of `bits`: "W4A4"."""
        return [Cell(replace(self.settings, bits=bits)).width for bits in self.bits]

    def shared(self) -> dict:
        """The settings that all cells have in common."""
        return {name: value for name, value in self.settings.to_dict().items() if name not in VARIED}
