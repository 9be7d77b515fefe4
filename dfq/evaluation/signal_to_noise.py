"""The signal-to-noise ratio in dB, the measure of how far tensors are off whatever they mean."""

from math import inf, isfinite, log10

MOST_DB = 150.0  # what is reported for equal tensors; float32 itself resolves no more


def ratio_in_db(signal: float, noise: float) -> float:
    """Returns 10 log₁₀(signal ÷ noise), from −150 to 150.

    Args:
        signal: Sum of the squares of the right values.
        noise: Sum of the squares of the differences; one that is not finite counts as infinite.
    """
    if not isfinite(noise):
        return -MOST_DB
    ratio = signal / noise if noise else inf
    if ratio in (0, inf):
        return MOST_DB if ratio else -MOST_DB
    return min(max(10 * log10(ratio), -MOST_DB), MOST_DB)
