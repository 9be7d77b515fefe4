"""RGAL: relations between samples, pushed one way by the images and the other way by the student.

Liang & Fu, IJCV 2025, arXiv 2412.11380 (published for distillation; the port to quantization is ours: the student is
the quantized copy, and gradients reach the images through its fake quantizers). Synthesis pushes samples of one label
apart and pulls those of different labels together; the student does the opposite.
"""

from dataclasses import replace
from types import MappingProxyType

from dfq.calibration import zeroq
from dfq.calibration.canvas import GeneratedImages
from dfq.calibration.inversion import InversionConfig
from dfq.calibration.terms import Disagreement, LabelCrossEntropy, SynthesisRelations
from dfq.mix import Mix
from dfq.objectives import RelationalDistillation

SYNTHESIS_PHASE = (Disagreement(1.0), SynthesisRelations(0.1))
GENERATED = InversionConfig(
    canvas=GeneratedImages,
    terms=(LabelCrossEntropy(0.3), *SYNTHESIS_PHASE),
    learning_rate=3e-3,
    betas=(0.5, 0.999),
)
OPTIMIZED = replace(zeroq.IMPROVED, terms=(*zeroq.IMPROVED.terms, *SYNTHESIS_PHASE))
STUDENT_PHASE = RelationalDistillation(map_weight=1.0, triplet_weight=0.1)
TRAINING = MappingProxyType({"mix": Mix(blended=1 / 3, patched=1 / 3)})
