"""Block reconstruction: learned rounding and scales, block by block (AdaRound, BRECQ, QDrop)."""

from dfq.post_training.reconstruction.reconstruct import BlockRecord, ReconstructionHistory, reconstruct
from dfq.post_training.reconstruction.settings import FitSettings

__all__ = ["BlockRecord", "FitSettings", "ReconstructionHistory", "reconstruct"]
