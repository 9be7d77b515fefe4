"""Settings of the verdict."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VerdictSettings:
    """The limits of the verdict.

    Attributes:
        min_share: Smallest share of the multiply–accumulates on integers, in [0, 1], that is taken without remark.
            Below it, the first line of every answer says so, and `--strict` refuses the network.
        max_float_error: Largest difference of a logit of the float file, as a part of the largest logit, at which the
            file is taken to compute what the network computes. Kernels that sum in another order stay below 1e-4.
    """

    min_share: float = 0.9
    max_float_error: float = 1e-3
