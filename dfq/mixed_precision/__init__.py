"""Mixed precision: a width for each layer's weight, so that the network fits a size and loses the least.

`weight_sensitivity` measures each layer, `AverageBits` and `FileSize` say what widths cost and how much they may cost,
and `choose_widths` chooses.
"""

from dfq.mixed_precision.allocation import Front, pareto_front
from dfq.mixed_precision.chosen_widths import ChosenWidths, Point
from dfq.mixed_precision.file_size import FileSize
from dfq.mixed_precision.pareto_plot import mixed_precision_plot
from dfq.mixed_precision.search import choose_widths
from dfq.mixed_precision.sensitivity import monotone, weight_sensitivity
from dfq.mixed_precision.width_limit import AverageBits, WidthLimit

__all__ = [
    "AverageBits",
    "ChosenWidths",
    "FileSize",
    "Front",
    "Point",
    "WidthLimit",
    "choose_widths",
    "mixed_precision_plot",
    "monotone",
    "pareto_front",
    "weight_sensitivity",
]
