"""Formats numbers for a person. A value that was not measured becomes an en dash."""

from collections.abc import Mapping
from math import sqrt
from pathlib import Path

from dfq.evaluation.signal_to_noise import MOST_DB

NOTHING = "–"
OPERATION_UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))


def percent(fraction: float | None, digits: int = 2) -> str:
    return NOTHING if fraction is None else f"{100 * fraction:.{digits}f} %"


def interval(fraction: float, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share that was found on `count` samples, in [0, 1] (Wilson, 1927)."""
    z = 1.96
    middle = (fraction + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * sqrt(fraction * (1 - fraction) / count + (z / (2 * count)) ** 2)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def ends(low: float, high: float) -> str:
    """Returns an interval of shares in percent, such as "98.4–100"."""
    return "–".join(f"{100 * end:.1f}".removesuffix(".0") for end in (low, high))


def with_interval(fraction: float | None, count: int | None, digits: int = 2) -> str:
    """Returns a share with its 95 % interval, such as "99.20 % (98.4–99.6)"."""
    if fraction is None or not count:
        return percent(fraction, digits)
    return f"{percent(fraction, digits)} ({ends(*interval(fraction, count))})"


def signed(fraction: float) -> str:
    """Returns a difference in percentage points with its sign, such as "−0.9"; one that rounds to zero has none."""
    shown = f"{100 * fraction:+.1f}".replace("-", "−")
    return "0.0" if shown[1:] == "0.0" else shown


def at_least(fraction: float | None, count: int | None) -> str:
    """Returns a share with the lower end of its 95 % interval, such as "99.20 % (≥ 98.4)", for narrow tables."""
    if fraction is None or not count:
        return percent(fraction)
    return f"{percent(fraction)} (≥ {100 * interval(fraction, count)[0]:.1f})"


def kept(drop: float, limits: tuple[float, float] | None, digits: int = 1) -> str:
    """Returns what is left after a drop, such as "98.5 % (96–99.8)", from the drop and the ends of its interval."""
    if limits is None:
        return percent(1 - drop, digits)
    return f"{percent(1 - drop, digits)} ({ends(1 - limits[1], 1 - limits[0])})"


def points(fraction: float | None, reference: float | None) -> str:
    """Returns the difference in percentage points, such as "(-0.30)"; empty where one of the two is unknown."""
    return "" if fraction is None or reference is None else f" ({100 * (fraction - reference):+.2f})"


def size(number: float | None) -> str:
    if number is None:
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.2f} {unit}"
    return f"{number / 1e3:.1f} kB"


def operations(count: float) -> str:
    """Returns a number of operations, such as "1.23 G" or "350.00 M"."""
    unit, factor = next((row for row in OPERATION_UNITS if count >= row[1]), OPERATION_UNITS[-1])
    return f"{count / factor:.2f} {unit}".rstrip()


def number(value: float | None, unit: str = "") -> str:
    """Returns the value with two decimals, or below 0.1 with two significant digits."""
    return NOTHING if value is None else f"{value:.2f}{unit}" if value >= 0.1 else f"{value:.2g}{unit}"


def decibels(value: float | None) -> str:
    """Returns a signal-to-noise ratio, such as "37.8 dB"; "equal" where there is no noise."""
    return NOTHING if value is None else "equal" if value >= MOST_DB else f"{value:.1f} dB"


def milliseconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g} ms"


def ratio(value: float | None, reference: float | None) -> str:
    """Returns a ratio, such as "(0.27×)"; empty where one of the two is unknown."""
    return "" if value is None or not reference else f" ({value / reference:.2f}×)"


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def label(scheme: dict) -> str:
    """Returns the label of a scheme's dictionary, such as W4A4.

    With mixed precision it names the narrowest and the widest of the chosen widths, as in W3–8A8 or W3–8A4–6.
    """
    weights = _ends(scheme["weight_overrides"], scheme["weight_bits"])
    activations = _ends(scheme.get("activation_overrides", {}), scheme["activation_bits"])  # Older runs have none.
    return f"W{weights}A{activations}"


def _ends(chosen: Mapping[str, int], usual: int) -> str:
    bits = chosen.values() or [usual]
    return "–".join(map(str, sorted({min(bits), max(bits)})))


def network_name(arch: str | None) -> str:
    """Returns what a title calls a network: its architecture, or the name of the file that holds it."""
    if arch is None:
        return "A network"
    return Path(arch).name if arch.endswith((".pt2", ".onnx")) or ".py:" in arch else arch
