"""Methods side by side, over variants and seeds, with the same teacher, settings and budget: `dfq compare`."""

from dfq.comparison.folder import ComparisonFolder
from dfq.comparison.jobs import JOBS, Job
from dfq.comparison.plan import Cell, Plan
from dfq.comparison.run import Comparison, compare, compare_methods

__all__ = ["JOBS", "Cell", "Comparison", "ComparisonFolder", "Job", "Plan", "compare", "compare_methods"]
