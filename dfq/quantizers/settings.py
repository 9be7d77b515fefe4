"""Settings of the rules that fit ranges."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RangeSettings:
    """How the rules of `dfq.quantizers.range_rules.RANGES` fit a range to values.

    Attributes:
        outside: Share of the values that "percentile" leaves beyond each end of the grid. "mse" tries its range, too.
        mse_exponent: Exponent of the error that "mse" minimises. It punishes large errors a little more than squares
            do, because clipping costs more than rounding (decision record 0009 compares exponents).
        shrinks: Number of equally spaced factors that "mse" tries on both ends together, from 1 down.
        smallest_shrink: Smallest of these factors, in (0, 1].
        end_factors: Factors that "mse" tries on one end alone, for grids that are not symmetric.
        end_rounds: Number of times that "mse" tries them, on the low end and then on the high end.
    """

    outside: float = 1e-3
    mse_exponent: float = 2.4
    shrinks: int = 91
    smallest_shrink: float = 0.1
    end_factors: tuple[float, ...] = (1.2, 1.1, 1.05, 0.95, 0.9, 0.8, 0.6)
    end_rounds: int = 2
