"""Block reconstruction: learned rounding and scales, block by block (AdaRound, BRECQ, QDrop)."""

from dfq.post_training.reconstruction.fit_block import FitSettings
from dfq.post_training.reconstruction.reconstruct import BlockRecord, ReconstructionHistory, reconstruct

__all__ = ["BlockRecord", "FitSettings", "ReconstructionHistory", "reconstruct"]
