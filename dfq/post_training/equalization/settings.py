"""Settings of the equalization across layers and in front of depthwise layers."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FactorLimits:
    """The limits of the factors that channels are divided by.

    Attributes:
        narrowest: Smallest factor. A channel that images hardly show may be loud on others, so it is not widened more.
        widest: Largest factor.
    """

    narrowest: float = 2.0**-3
    widest: float = 2.0**10


@dataclass(frozen=True, kw_only=True)
class RoundingLossSettings:
    """Settings of the measurement of what rounding does to a layer's outputs.

    Attributes:
        outputs: Approximate number of a layer's outputs that are computed, for each group.
        values: Approximate number of a layer's input values that their grid is fitted to.
        shrinks: Factors on the range of all values, among which the end of the grid is searched.
        products: Largest number of elements of a product.
    """

    outputs: int = 32
    values: int = 2**14
    shrinks: tuple[float, ...] = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3)
    products: int = 2**24


@dataclass(frozen=True, kw_only=True)
class CrossLayerSettings:
    """Settings of cross-layer equalization.

    Attributes:
        max_images: Largest number of images that say how wide channels are.
        batch_size: Number of images in one pass through the teacher.
        rows: Approximate number of positions of a tensor that errors are measured on.
        limits: Limits of the factors.
        strengths: Powers of the factors that are tried.
        worth: Largest part of the error that factors may leave to be taken. Smaller gains did not show in what networks
            answer.
        rounding_loss: How the error is measured.
    """

    max_images: int = 64
    batch_size: int = 32
    rows: int = 512
    limits: FactorLimits = FactorLimits()
    strengths: tuple[float, ...] = (1.0, 0.5)
    worth: float = 0.5
    rounding_loss: RoundingLossSettings = RoundingLossSettings()


@dataclass(frozen=True, kw_only=True)
class NormSettings:
    """Settings of the rescaling behind normalizations.

    Attributes:
        max_images: Largest number of images that say where channels end.
        batch_size: Number of images in one pass through the teacher.
        rows: Approximate number of positions of a tensor that show where channels end and what a change is worth.
        deviations: Number of factors γ by which each channel counts as reaching to both sides of its offset β at least.
            A normalized channel has a standard deviation of about γ, and synthetic images may not show it all.
        limits: Limits of the factors.
        strengths: Powers that are tried of the factors that share differences between activations and weights.
        worth: Largest part of the error that a change may leave to be taken.
        rounding_loss: How the error is measured.
    """

    max_images: int = 64
    batch_size: int = 32
    rows: int = 2048
    deviations: float = 2.0
    limits: FactorLimits = FactorLimits()
    strengths: tuple[float, ...] = (1.0, 0.5)
    worth: float = 0.9
    rounding_loss: RoundingLossSettings = RoundingLossSettings()


@dataclass(frozen=True, kw_only=True)
class DepthwiseSettings:
    """Settings of the equalization in front of depthwise layers.

    Attributes:
        max_images: Largest number of images that say where channels end.
        batch_size: Number of images in one pass through the teacher.
        samples: Approximate number of values of a channel that its range is fitted to.
        min_deviations: Smallest number of standard deviations above its mean at which a channel ends, where BatchNorm
            says so; a Gaussian's largest values among a few hundred are that far away. At b bits the number is b − 1 if
            that is larger: about where a Laplacian loses least to clipping and rounding together (Banner et al.,
            NeurIPS 2019, arXiv 1810.05723).
        largest_factor: Largest factor that a channel in front of a ReLU6 is widened by.
        limits: Limits of the factors of other channels.
    """

    max_images: int = 64
    batch_size: int = 32
    samples: int = 2**12
    min_deviations: int = 3
    largest_factor: float = 16.0
    limits: FactorLimits = FactorLimits()
