"""ZeroQ: images distilled from BatchNorm statistics (Cai et al., CVPR 2020, arXiv 2001.00281, equation 3).

`AS_PUBLISHED`: each pixel is free, starts from N(0, 1) and follows Adam for 500 steps, until the batch has the means
and standard deviations that the BatchNorm layers remember. The loss is Σ ‖μ − μ̂‖² + ‖σ − σ̂‖² over these layers, and
over the image itself, for which μ̂ = 0 and σ̂ = 1. Deviations: the learning rate falls by a cosine, not at plateaus; a
pixel is counted in quarters of its range from the middle of it, where the paper counts in the standard deviations of
the input normalisation from its means; and pixels are clipped to valid ones in the end.
"""

from dfq.calibration.inversion.batch_norm_matching import SQUARED_NORMS, Matching
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.parametrizations import FreePixels
from dfq.calibration.inversion_terms import InputPrior

AS_PUBLISHED = InversionConfig(
    parametrization=FreePixels,
    terms=(InputPrior(1.0, always=True, summed=True),),
    iterations=500,
    learning_rate=0.5,
    betas=(0.9, 0.999),
    matching=Matching(distance=SQUARED_NORMS),
    augmented=False,
    patience=500,  # No batch ends before its 500 iterations.
)
