"""A student of any architecture, trained without data from its teacher's answers: what `dfq distill` does."""

from dfq.distillation.folder import DistillFolder
from dfq.distillation.run import Distilled, distill, distill_model
from dfq.distillation.settings import DistillSettings

__all__ = ["DistillFolder", "DistillSettings", "Distilled", "distill", "distill_model"]
