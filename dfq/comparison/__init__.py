"""Methods side by side, over widths and seeds, with the same teacher, settings and budget: what `dfq compare` does."""

from dfq.comparison.folder import ComparisonFolder
from dfq.comparison.plan import Cell, Plan
from dfq.comparison.run import Comparison, compare, compare_methods

__all__ = ["Cell", "Comparison", "ComparisonFolder", "Plan", "compare", "compare_methods"]
