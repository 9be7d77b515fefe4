"""PSAQ-ViT: images whose patches differ in a transformer's attention (Li et al., ECCV 2022, arXiv 2203.02250).

`AS_PUBLISHED`: images start from noise and follow Adam towards random classes, a high entropy of the similarity of
patches, and little total variation. Deviations: 64 random patches of an image are compared instead of all, total
variation is punished instead of steered to a drawn value, the learning rate falls once instead of twice, and pixels are
clipped to valid ones in the end.
"""

from dfq.calibration.inner_terms import PatchEntropy
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.parametrizations import FreePixels
from dfq.calibration.inversion_terms import LabelCrossEntropy, Smoothness

AS_PUBLISHED = InversionConfig(
    parametrization=FreePixels,
    terms=(LabelCrossEntropy(1.0), Smoothness(0.05), PatchEntropy(1.0)),
    statistics=False,
    iterations=1000,
    learning_rate=0.2,
    betas=(0.5, 0.9),
)
