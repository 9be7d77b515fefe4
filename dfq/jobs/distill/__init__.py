"""`dfq distill`: a student of any architecture learns without data from the answers of its teacher."""

from dfq.jobs.distill.folder import DistillFolder
from dfq.jobs.distill.run import Distilled, distill, distill_model
from dfq.jobs.distill.settings import DistillSettings

__all__ = ["DistillFolder", "DistillSettings", "Distilled", "distill", "distill_model"]
