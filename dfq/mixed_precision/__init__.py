"""Mixed precision: a width for each layer's weight and input, so that the network fits a limit and loses the least.

`width_sensitivity` measures each of them, `AverageBits`, `FileSize` and `BitOperations` say what widths cost and how
much they may cost, and `choose_widths` chooses.
"""

from dfq.mixed_precision.allocation import Front, pareto_front
from dfq.mixed_precision.chosen_widths import ActivationWidth, ChosenWidths, Point
from dfq.mixed_precision.file_size import FileSize
from dfq.mixed_precision.groups import Group
from dfq.mixed_precision.operation_count import BitOperations
from dfq.mixed_precision.pareto_plot import mixed_precision_plot
from dfq.mixed_precision.search import choose_widths
from dfq.mixed_precision.sensitivity import Candidates, Sensitivities, monotone, width_sensitivity
from dfq.mixed_precision.width_limit import AverageBits, WidthLimit
from dfq.mixed_precision.widths import Widths

__all__ = [
    "ActivationWidth",
    "AverageBits",
    "BitOperations",
    "Candidates",
    "ChosenWidths",
    "FileSize",
    "Front",
    "Group",
    "Point",
    "Sensitivities",
    "WidthLimit",
    "Widths",
    "choose_widths",
    "mixed_precision_plot",
    "monotone",
    "pareto_front",
    "width_sensitivity",
]
