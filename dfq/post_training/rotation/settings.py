"""Settings of the rotation of linear residual streams."""

from dataclasses import dataclass

from dfq.student.settings import CalibrationSettings


@dataclass(frozen=True, kw_only=True)
class RotationSettings:
    """Settings of the rotation of linear residual streams.

    Attributes:
        max_images: Largest number of images that say how wide a stream is in which direction.
        batch_size: Number of images in one pass through the teacher.
        samples: Approximate number of positions of a map by which its directions and errors are judged.
        samples_per_tensor: Approximate number of values of one tensor that its grid is fitted to.
    """

    max_images: int = 64
    batch_size: int = 32
    samples: int = 2**12
    samples_per_tensor: int = CalibrationSettings.samples_per_tensor
