"""`EngineSettings` and `ReferenceSettings`: how engines run a file, and which files the slowest of them takes."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine runs a file.

    Attributes:
        threads: Number of threads.
        batch_size: Number of images that are run at a time, where the file leaves it open.
        most_numbers: Largest number of values of a batch, where the file fixes its size: half a gigabyte.
    """

    threads: int = 2
    batch_size: int = 64
    most_numbers: int = 2**27


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """What onnx's reference evaluator, which is slow, is asked to run.

    Attributes:
        largest_side: Largest side of an image in pixels.
        max_weights: Largest number of weights of a network.
        max_images: Number of images of each kind that it is compared on.
    """

    largest_side: int = 64
    max_weights: int = 2_000_000
    max_images: int = 32
