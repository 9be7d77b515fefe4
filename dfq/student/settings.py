"""Settings of the calibration of a student's ranges."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """How the values that ranges are fitted to are gathered.

    Attributes:
        samples_per_tensor: Number of values of one tensor that are kept, drawn at random from all images. The extremes
            of each batch are kept in addition.
        batch_size: Number of images in one pass through the student.
    """

    samples_per_tensor: int = 2**17
    batch_size: int = 64
