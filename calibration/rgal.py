"""RGAL: relations between samples, which the images push one way and the student the other way.

Liang & Fu, IJCV 2025, arXiv 2412.11380. The paper is on distillation, and the port to quantization is ours: the student
is the quantized copy, and gradients reach the images through its fake quantizers. Synthesis pushes samples of one label
apart and pulls those of different labels together; the student does the opposite.

Deviations: half of the images are made before there is a student, from the base terms. The rest is made in batches
while the student learns, each by a new generator (as published) or as sums of grids. The student matches feature maps
instead of pooled features, at τ = 4 instead of 20, on mixtures and enlarged parts of the images. The last step's images
go to the pool, not those of the lowest loss, because the step size falls to 0. `benchmarks/ablation/` measures each
part.

`AS_PUBLISHED` is without these deviations: a new generator for each batch, 400 steps of Adam with the published losses
and weights, the images of the step with the lowest loss, a pool that grows to the end of the training, and the
student's published objective. What remains: images are not augmented while they are made, and have no second view.

`WITH_GDFQ` has the published terms on one generator for the whole run, with those of GDFQ.

For a student of another architecture the objective is the published one.
"""

from dataclasses import replace
from types import MappingProxyType

from dfq.calibration import recipes
from dfq.calibration.generators.gdfq import GDFQConfig
from dfq.calibration.inversion.batch_norm_matching import NORMS, Matching
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.parametrizations import GeneratedImages
from dfq.calibration.inversion_terms import Disagreement, LabelCrossEntropy, SynthesisRelations
from dfq.images.mixtures import Mix
from dfq.training.objectives import RelationalDistillation

SYNTHESIS_PHASE = (Disagreement(0.03), SynthesisRelations(0.3))  # Larger weights cost agreement (decision record 0027).
GENERATED = replace(recipes.GENERATED, terms=(*recipes.GENERATED.terms, *SYNTHESIS_PHASE))
BASE = replace(
    GENERATED, terms=(*recipes.IMPROVED.terms, SYNTHESIS_PHASE[0])
)  # This is CMI without its contrastive term.
OPTIMIZED = replace(recipes.IMPROVED, terms=(*recipes.IMPROVED.terms, *SYNTHESIS_PHASE))
PAIRED = 1 / 3  # The other images of a batch are mixtures, which have no class.
STUDENT_PHASE = RelationalDistillation(map_weight=1.0, triplet_weight=0.1, paired=PAIRED)
DISTILLATION = replace(STUDENT_PHASE, triplet_weight=0.0)  # Its base is logits and feature maps.
STUDENT_FROM_SCRATCH = RelationalDistillation(
    temperature=20.0, pooled_weight=0.1, triplet_weight=0.1
)  # These are the published values.
PUBLISHED_TERMS = (Disagreement(1.0), SynthesisRelations(0.1))
AS_PUBLISHED = InversionConfig(
    parametrization=GeneratedImages,
    terms=(LabelCrossEntropy(1.0), *PUBLISHED_TERMS),
    iterations=400,
    learning_rate=1e-3,
    betas=(0.5, 0.999),
    matching=Matching(distance=NORMS),
    augmented=False,
    keep_best=True,
    patience=400,  # No batch ends before its 400 iterations.
)
WITH_GDFQ = GDFQConfig(terms=PUBLISHED_TERMS)
MIXTURES = Mix(blended=1 / 3, patched=1 / 3)
TRAINING = MappingProxyType({"mix": MIXTURES})
