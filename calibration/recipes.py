"""dfq's own recipes of image inversion, which build on ZeroQ's matching of BatchNorm statistics.

`IMPROVED`: images are sums of grids (`pixel_grids`), statistics are compared relatively per channel, dead channels are
left out, images are mirrored and shifted while they are optimised, a small cross-entropy draws different classes,
total variation and saturation are punished. ZeroQ's own input prior is in it: without it, images have 1.5 times the
contrast that the input normalisation implies (ResNet-20), and a larger deviation in the BatchNorm layers too. It
is zero where the normalisation is a mere rescaling of the pixels.

`GENERATED`: the same by a small generator per batch (CMI's), which draws smoother shapes; `BOTH`: batches of either in
turn.
"""

from dataclasses import replace

from dfq.calibration.inversion.inversion import InversionConfig
from dfq.calibration.inversion.parametrizations import GeneratedImages, PixelGrids
from dfq.calibration.inversion_terms import InputPrior, LabelCrossEntropy, Saturation, Smoothness

IMPROVED = InversionConfig(
    parametrization=PixelGrids,
    learning_rate_large=0.05,  # there are more grids, which move together: at 0.1, nearly half of the pixels saturate
    terms=(LabelCrossEntropy(0.3), InputPrior(1.0), Smoothness(0.05), Saturation(0.02)),
)
GENERATED = replace(
    IMPROVED, parametrization=GeneratedImages, learning_rate=3e-3, learning_rate_large=None, betas=(0.5, 0.999)
)
BOTH = (IMPROVED, GENERATED)
# Late blocks of networks for large images are fitted to few positions of many channels: there, three in four images are
# quick ones, so that there can be more (decision record 0005). Small images are all of one kind.
QUICK = replace(IMPROVED, iterations_large=50)
MANY = (QUICK, QUICK, QUICK, IMPROVED)  # quick ones first: a short budget allows these
SKETCHES = replace(IMPROVED, iterations=15)  # for methods that only look at the student on a few images
