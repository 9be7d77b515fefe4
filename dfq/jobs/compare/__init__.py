"""Methods side by side, over variants and seeds, with the same teacher, settings and budget: `dfq compare`."""

from dfq.jobs.compare.compared_jobs import JOBS, Job
from dfq.jobs.compare.folder import ComparisonFolder
from dfq.jobs.compare.plan import Cell, Plan
from dfq.jobs.compare.run import Comparison, compare, compare_methods

__all__ = ["JOBS", "Cell", "Comparison", "ComparisonFolder", "Job", "Plan", "compare", "compare_methods"]
