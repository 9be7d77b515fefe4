"""Settings of a validation: agreement, rounding ties, latency, and speed and memory."""

from dataclasses import dataclass

from dfq.export.engines.settings import EngineSettings
from dfq.export.engines.table import MAIN


@dataclass(frozen=True, kw_only=True)
class RoundingTieSettings:
    """How a student is compared with itself in float64 (`dfq.export.validation.rounding_ties`).

    Attributes:
        images: Number of images that it is compared on, because float64 is slow.
        batch_size: Number of images in one pass.
    """

    images: int = 128
    batch_size: int = 16


@dataclass(frozen=True, kw_only=True)
class FurtherImageSettings:
    """On how many synthetic images a file is compared with its student (`dfq.export.validation.compared`).

    Where all of 256 answers are equal, the 95 % interval of the agreement begins at 98.5 %; with 4 answers, at 51 %.

    Attributes:
        images: Least number of images of up to 64×64 pixels.
        images_large: Least number of larger images.
        blended: Share of the mixtures that are blends of two images, in [0, 1].
        patched: Share of the mixtures that are patched together from two images, in [0, 1].
    """

    images: int = 256
    images_large: int = 128
    blended: float = 0.5
    patched: float = 0.5


@dataclass(frozen=True, kw_only=True)
class LatencySettings:
    """How the latencies of several engines are measured in turns.

    Attributes:
        warm_ups: Number of runs of each engine before the clock starts.
        rounds: Largest number of timed runs of each engine.
        seconds: Time after which no further round begins, in seconds.
    """

    warm_ups: int = 3
    rounds: int = 50
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """How a file is compared with its student.

    Attributes:
        engines: Names of `dfq.export.engines.table.ENGINES` that run the file for second opinions; ONNX Runtime on the
            CPU always runs. An engine that is absent becomes a row with the reason.
        threads: Number of threads of each engine.
        batch_size: Number of images that are run at a time.
        min_agreement: Top-1 agreement of the file with its student, in [0, 1], below which the report says how far
            rounding ties explain it.
        min_snr_db: Signal-to-noise ratio of the file against its student in dB, below which the report of a network
            that is no classifier says so.
        least_images: Number of synthetic images below which the student's agreement with the teacher is not shown.
        most_alike: Share of synthetic images with one and the same answer of the teacher, in [0, 1], beyond which it is
            not shown.
        most_unsure: Mean entropy of the teacher's answers, as a part of the largest possible one, beyond which it is
            not shown.
        largest_outputs: Largest size in bytes of all outputs of one network that are held in memory; fewer images are
            compared where they would be larger.
        rounding_ties: How the student is compared with itself then.
        latency: How latencies are measured.
    """

    engines: tuple[str, ...] = (MAIN,)
    threads: int = EngineSettings().threads
    batch_size: int = EngineSettings().batch_size
    min_agreement: float = 0.998
    min_snr_db: float = 30.0
    least_images: int = 100
    most_alike: float = 0.9
    most_unsure: float = 0.9
    largest_outputs: int = 2**29
    rounding_ties: RoundingTieSettings = RoundingTieSettings()
    latency: LatencySettings = LatencySettings()


@dataclass(frozen=True, kw_only=True)
class PerformanceSettings:
    """How speed and memory of a file are measured, in a process of its own.

    Attributes:
        batches: Numbers of images in one run; a file that fixes its own is measured at that.
        threads: Numbers of threads of ONNX Runtime.
        seconds: Time of each measurement in seconds, after a warm-up.
        min_runs: Smallest number of timed runs in a measurement.
        profiled_runs: Number of runs that are profiled, after a warm-up.
    """

    batches: tuple[int, ...] = (1, 32)
    threads: tuple[int, ...] = (1, 2)
    seconds: float = 0.5
    min_runs: int = 3
    profiled_runs: int = 5
