"""A student of any architecture, trained without data from its teacher's answers: what `dfq distill` does."""

from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.run import Distilled, distill, distill_model
from dfq.jobs.distill.settings import DistillSettings

__all__ = ["DistillFolder", "DistillSettings", "Distilled", "distill", "distill_model"]
