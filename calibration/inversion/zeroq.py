"""ZeroQ: images distilled from BatchNorm statistics (Cai et al., CVPR 2020, arXiv 2001.00281).

`AS_PUBLISHED`: each pixel is free, starts from N(0, 1) and follows Adam until the batch's statistics match those of the
BatchNorm layers; the prior that the image itself has mean 0 and standard deviation 1 is added. Deviations: the learning
rate falls by a cosine instead of at plateaus, and pixels are clipped to valid ones in the end.
"""

from dfq.calibration.inversion.batch_norm_matching import Matching
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.parametrizations import FreePixels
from dfq.calibration.inversion_terms import InputPrior

AS_PUBLISHED = InversionConfig(
    parametrization=FreePixels,
    terms=(InputPrior(1.0, always=True),),
    iterations=500,
    learning_rate=0.5,
    matching=Matching(relative=False),
    augmented=False,
)
