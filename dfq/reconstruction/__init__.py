"""Block reconstruction: learned rounding and scales, block by block (AdaRound, BRECQ, QDrop)."""

from dfq.reconstruction.fitting import FitSettings
from dfq.reconstruction.reconstruct import BlockRecord, ReconstructionHistory, reconstruct

__all__ = ["BlockRecord", "FitSettings", "ReconstructionHistory", "reconstruct"]
