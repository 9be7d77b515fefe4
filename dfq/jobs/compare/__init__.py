"""`dfq compare`: methods side by side, over variants and seeds, with the same teacher, settings and budget."""

from dfq.jobs.compare.compared_jobs import JOBS, Job
from dfq.jobs.compare.folder import ComparisonFolder
from dfq.jobs.compare.plan import Cell, ComparisonPlan
from dfq.jobs.compare.run import Comparison, compare, compare_methods

__all__ = ["JOBS", "Cell", "Comparison", "ComparisonFolder", "ComparisonPlan", "Job", "compare", "compare_methods"]
