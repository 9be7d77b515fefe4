"""Settings of mixed precision: sensitivities, the choice of widths, and the measurement of file sizes."""

from dataclasses import dataclass

from dfq.images.input_spec import InputSpec, is_large


@dataclass(frozen=True, kw_only=True)
class SensitivitySettings:
    """How the sensitivity of the network to each width is measured.

    Attributes:
        ranges: How the grids are fitted: "mse", "minmax" or "percentile".
        images: Number of synthetic images that are looked at, of up to 64 pixels a side.
        images_large: Number of larger images that are looked at; each of them takes longer.
        batch_size: Number of images at a time, of up to 64 pixels a side.
        batch_size_large: Number of larger images at a time.
        samples_per_tensor: Number of values of one tensor, from all images, that its grids are fitted to. The extremes
            of each batch are kept in addition.
    """

    ranges: str = "mse"
    images: int = 128
    images_large: int = 32
    batch_size: int = 32
    batch_size_large: int = 16
    samples_per_tensor: int = 2**14

    def images_of(self, input_spec: InputSpec) -> int:
        """Returns how many images are looked at for a network with that input."""
        return self.images_large if is_large(input_spec.size) else self.images

    def batch_size_of(self, input_spec: InputSpec) -> int:
        """Returns how many images are looked at together for a network with that input."""
        return self.batch_size_large if is_large(input_spec.size) else self.batch_size


@dataclass(frozen=True, kw_only=True)
class WidthSearchSettings:
    """How the widths of a network are chosen.

    Attributes:
        sensitivity: How the sensitivities are measured.
        largest_front: Number of points of the Pareto front after each layer, above which it is thinned out.
        largest_group: Number of choices for layers that read one tensor, above which they are thinned out. Four layers
            have some 150 that no other choice beats.
        recorded_points: Number of points of the front that are kept at even intervals of cost, enough to draw it.
    """

    sensitivity: SensitivitySettings = SensitivitySettings()
    largest_front: int = 20_000
    largest_group: int = 400
    recorded_points: int = 200


@dataclass(frozen=True, kw_only=True)
class FileSizeSettings:
    """How `FileSize` makes the students whose files it measures.

    Attributes:
        images: Number of images of noise that they are calibrated on.
        noise_divisor: Every parameter is multiplied by 1 + u / this number, with u at random in [0, 1), so that no two
            tensors are equal.
        added_bias: This number, times the same factor, is then added to every bias. It is some 10^6 steps of the grid
            of a bias, which need 32 bits.
    """

    images: int = 8
    noise_divisor: float = 10.0
    added_bias: float = 1000.0
