"""Settings of the verdict."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class VerdictSettings:
    """The limits of the verdict.

    Attributes:
        min_share: Smallest share of the multiply–accumulates on integers, in [0, 1], that is taken without remark.
            Below it, the first line of every answer says so, and `--strict` refuses the network.
        max_float_error: Largest difference of a logit of the float file, as a part of the largest logit, at which the
            file is taken to compute what the network computes. Kernels that sum in another order stay below 1e-4.
    """

    min_share: float = 0.9
    max_float_error: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class DecisionSettings:
    """When a file is to be shipped, checked or left alone (`dfq.results.decision`).

    Attributes:
        small_drop: Loss of accuracy, as a share of all images, that nobody minds.
        large_drop: Loss of accuracy that is too large to ship.
        large_expected_drop: Share of the teacher's accuracy that is expected to be lost, beyond which a file is not
            worth checking.
        large_student_drop: Loss of accuracy that is too large for a student of another architecture, from which less is
            expected.
        least_agreement: Share of held-out synthetic images that such a student must answer as the teacher does.
        precision: Half of the interval of a drop that a check is to tell, as a share of all images.
        least_disagreement: Smallest share of images on which teacher and file are taken to differ.
        usual_disagreement: That share where nothing is known.
        fewest, most: Smallest and largest number of labelled images that are asked for.
        low_snr_db: Signal-to-noise ratio of an output to the network's, in dB, below which a file is of no use.
        min_snr_db: Ratio of file and student in dB below which they may not do the same.
        snr_margin_db: How much nearer to itself the student must be in float64, in dB, for the file to be wrong.
        pictures: Number of real pictures that are asked for.
    """

    small_drop: float = 0.02
    large_drop: float = 0.05
    large_expected_drop: float = 0.1
    large_student_drop: float = 0.2
    least_agreement: float = 0.6
    precision: float = 0.01
    least_disagreement: float = 0.01
    usual_disagreement: float = 0.02
    fewest: int = 200
    most: int = 5000
    low_snr_db: float = 10.0
    min_snr_db: float = 30.0
    snr_margin_db: float = 6.0
    pictures: int = 100
