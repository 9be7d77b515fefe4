"""dfq's own recipes of image inversion, which build on ZeroQ's matching of BatchNorm statistics.

`IMPROVED`: images are sums of grids (`pixel_grids`). The deviation of each channel is relative to its own statistics,
and dead channels are left out. Images are mirrored and shifted while they are optimised. A small cross-entropy brings
in different classes; total variation and saturation are punished. ZeroQ's own input prior is kept: without it, images
have 1.5 times the contrast that the input normalisation implies (ResNet-20), and deviate more in the BatchNorm layers,
too. The prior does not apply where the normalisation is a mere rescaling of the pixels.

`GENERATED`: the same terms with a small generator for each batch, as in CMI, which makes smoother shapes.

`BOTH`: batches of the two kinds take turns.

`SKETCHES`: a few steps from dead leaves instead of random grids, for the same loss.
"""

from dataclasses import replace

from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.leaf_grids import LeafGrids
from dfq.calibration.inversion.parametrizations import GeneratedImages, PixelGrids
from dfq.calibration.inversion_terms import InputPrior, LabelCrossEntropy, Saturation, Smoothness

IMPROVED = InversionConfig(
    parametrization=PixelGrids,
    learning_rate_large=0.05,  # The grids are more, and move together: at 0.1, nearly half of the pixels saturate.
    terms=(LabelCrossEntropy(0.3), InputPrior(1.0), Smoothness(0.05), Saturation(0.02)),
)
GENERATED = replace(
    IMPROVED, parametrization=GeneratedImages, learning_rate=3e-3, learning_rate_large=None, betas=(0.5, 0.999)
)
BOTH = (IMPROVED, GENERATED)
# Late blocks of networks for large images are fitted to few positions of many channels. Therefore three in four large
# images are quick ones, so that there can be more (decision record 0005). Small images are all of one kind.
QUICK = replace(IMPROVED, iterations_large=50)
MANY = (QUICK, QUICK, QUICK, IMPROVED)  # Quick ones come first, because a short budget allows these.
# For methods that only look at the student on a few images. The smaller rate keeps what the leaves bring.
SKETCHES = replace(IMPROVED, parametrization=LeafGrids, iterations=15, learning_rate=0.02, learning_rate_large=0.02)
