"""`LayerPlot`: error, bits and share of the work of each layer, drawn without scripts: hovering shows SVG titles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from dfq.results.number_format import decibels
from dfq.results.verdict import small_share

MOST_DB = 60  # Bars end here, because nothing is visible of smaller errors.
TICK_DB = 20  # distance of the lines of the first panel, in dB
MOST_BITS = 8
FILLED = 0.8  # share of a layer's place that its bars take


@dataclass(frozen=True)
class LayerBar:
    """One layer of the plot. Places are in percent of the width, heights are shares of a panel's height, in [0, 1].

    Attributes:
        name: Name of the layer.
        title: All its figures in words.
        left: Left end of the layer's place.
        ratio: Height of the signal-to-noise ratio; None: it was not measured.
        weight: Height of the bits of the weight; None: it stays in floating point.
        input: Height of the bits of what the layer reads; None: that stays in floating point.
        share: Height of the share of the multiply–accumulates.
    """

    name: str
    title: str
    left: float
    ratio: float | None
    weight: float | None
    input: float | None
    share: float


@dataclass(frozen=True)
class LayerPlot:
    """Three panels, one below the other, with a bar for each layer.

    Attributes:
        bars: The layers in their order.
        text: What is seen, for those who do not see it.
        decibel_ticks: Label and height of each line of the first panel.
        bit_ticks: The same for the second panel.
        largest_share: Share of the multiply–accumulates that is as high as the third panel, in words.
    """

    bars: tuple[LayerBar, ...]
    text: str
    decibel_ticks: tuple[tuple[str, float], ...]
    bit_ticks: tuple[tuple[str, float], ...]
    largest_share: str

    @property
    def place(self) -> float:
        """Width of a layer's place in percent."""
        return 100 / len(self.bars)

    @property
    def filled(self) -> float:
        """Width of a bar in percent."""
        return FILLED * self.place


def layer_plot(rows: Sequence[Mapping]) -> LayerPlot | None:
    """Returns the plot of rows of `dfq.results.page.layers.layer_rows`; None where there is nothing to compare."""
    ratios = [row["snr_db"] for row in rows if row["snr_db"] is not None]
    if not ratios:
        return None
    low, high = _ends(ratios)
    largest = max(row["share"] for row in rows) or 1.0
    bars = tuple(
        LayerBar(
            name=row["name"],
            title=_title(row),
            left=100 * index / len(rows),
            ratio=None if row["snr_db"] is None else _height(row["snr_db"], low, high),
            weight=None if row["reason"] else row["weight_bits"] / MOST_BITS,
            input=row["input_bits"] and row["input_bits"] / MOST_BITS,
            share=row["share"] / largest,
        )
        for index, row in enumerate(rows)
    )
    ticks = tuple((f"{tick} dB", _height(tick, low, high)) for tick in range(low, high + 1, TICK_DB))
    bit_ticks = tuple((f"{bits}", bits / MOST_BITS) for bits in (2, 4, 8))
    return LayerPlot(bars, _text(rows, ratios), ticks, bit_ticks, small_share(largest))


def _ends(ratios: Sequence[float]) -> tuple[int, int]:
    """Returns the ends of the first panel, which are multiples of the distance of its lines."""
    low, high = min(0, *ratios), min(max(ratios), MOST_DB)
    low = max(floor(low / TICK_DB) * TICK_DB, -MOST_DB)
    return low, max(ceil(high / TICK_DB) * TICK_DB, low + TICK_DB)


def _height(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _title(row: Mapping) -> str:
    ratio = "not measured" if row["snr_db"] is None else decibels(row["snr_db"])
    bits = f"weight {row['weight_bits']} bits" if row["weight_bits"] else "weight in floating point"
    read = f"input {row['input_bits']} bits" if row["input_bits"] else "input in floating point"
    reason = f", in floating point: {row['reason']}" if row["reason"] else ""
    return f"{row['name']}: {ratio}; {bits}, {read}; {small_share(row['share'])} of the multiply–accumulates{reason}"


def _text(rows: Sequence[Mapping], ratios: Sequence[float]) -> str:
    worst = min((row for row in rows if row["snr_db"] is not None), key=lambda row: row["snr_db"])
    busiest = max(rows, key=lambda row: row["share"])
    return (
        f"Bars for {len(rows)} layers. The signal-to-noise ratio goes from {decibels(ratios[0])} in the first layer to "
        f"{decibels(ratios[-1])} in the last; it is lowest in {worst['name']}, with {decibels(worst['snr_db'])}. "
        f"{busiest['name']} has most of the multiply–accumulates, {small_share(busiest['share'])}."
    )
