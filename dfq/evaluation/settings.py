"""Settings of the measurement of diversity and of the drop estimate."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DiversitySettings:
    """How the diversity of a set of images is measured.

    Attributes:
        max_images: Largest number of images that are measured; 1024 of them have half a million pairs.
        batch_size: Number of images in one pass through the teacher.
        distance_bins: Number of equal bins of distance from 0 to 2, the largest distance of two unit vectors.
        entropy_bins: Number of bins of entropy, equally wide on a logarithmic scale.
        entropy_decades: Decimal logarithms of the smallest and the largest entropy of the bins, in nats. A linear scale
            would put everything that a trained synthesizer makes into one bin.
        max_class_bins: Largest number of bins of classes; where there are more classes, neighbours share a bin.
    """

    max_images: int = 1024
    batch_size: int = 64
    distance_bins: int = 40
    entropy_bins: int = 28
    entropy_decades: tuple[int, int] = (-6, 1)
    max_class_bins: int = 100


@dataclass(frozen=True, kw_only=True)
class LayerErrorSettings:
    """How the errors of layers are measured (`dfq.evaluation.layer_errors`).

    Attributes:
        images: Largest number of images that they are measured on.
        batch_size: Number of images in one pass.
        batch_size_large: Number of images of more than 64 pixels a side in one pass.
    """

    images: int = 32
    batch_size: int = 16
    batch_size_large: int = 2


@dataclass(frozen=True, kw_only=True)
class DropEstimateSettings:
    """How the evidence on a student is gathered, and when a drop is predicted from it.

    Attributes:
        mixtures: Least number of mixtures of held-out images, and of far images, for images of up to 64×64 pixels.
        mixtures_large: Least number of mixtures, and of far images, for larger images.
        mixtures_of_maps: Least number of mixtures, and of far images, of small images for networks that are no
            classifiers.
        blended: Share of the mixtures that are blends of two images, in [0, 1].
        patched: Share of the mixtures that are patched together from two images, in [0, 1].
        temperature: Temperature τ of the divergence τ²·KL(teacher ‖ student).
        batch_size: Number of images in one pass through a network.
        max_deviation: Largest mean deviation from the BatchNorm statistics at which a drop is predicted. Images beyond
            it, such as sketches and noise, tell nothing.
        min_held_out: Fewest held-out images with which a drop is predicted, because everything is made of them.
        max_alike: Share of far images with one and the same answer, in [0, 1], beyond which no drop is predicted,
            because agreement is no merit there.
    """

    mixtures: int = 1024
    mixtures_large: int = 128
    mixtures_of_maps: int = 256
    blended: float = 0.5
    patched: float = 0.5
    temperature: float = 4.0
    batch_size: int = 64
    max_deviation: float = 0.1
    min_held_out: int = 16
    max_alike: float = 0.99
