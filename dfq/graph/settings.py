"""Settings of the capture, the folding, and the comparison of outputs that both end with."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SameOutputsSettings:
    """Settings of the comparison of two networks' outputs.

    Attributes:
        tolerance: Largest difference of a value, as a share of the largest expected value of its output. Kernels that
            add in another order differ by no more.
        smallest_scale: Lower bound of the largest value in this comparison. Values below it may be what is left of
            much larger ones.
        other_choices: Largest share of the whole numbers of an output, such as the classes of an argmax, that differ.
    """

    tolerance: float = 1e-4
    smallest_scale: float = 0.1
    other_choices: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class CaptureSettings:
    """Settings of the capture: the export of a network, and the comparison of its graph with it.

    Attributes:
        examples: Number of images that the network is exported with.
        batches: Numbers of images on which the graph is compared with the network.
        fixed_batch: Number of images that a network is exported for where it uses that number as a plain Python
            number. It is a prime, so that its multiples among the arguments of operators can be recognised, and small
            enough for a network that walks through its images one by one.
        same_outputs: Settings of the comparison of outputs.
    """

    examples: int = 2
    batches: tuple[int, ...] = (1, 2, 5)
    fixed_batch: int = 113
    same_outputs: SameOutputsSettings = SameOutputsSettings()


@dataclass(frozen=True, kw_only=True)
class FoldingSettings:
    """Settings of the folding: the search for moments in front of a ReLU, and the comparison with the captured network.

    Attributes:
        largest_ratio: Largest ratio of mean to standard deviation, of either sign, that is looked for in front of a
            ReLU. Beyond it, a ReLU passes everything or next to nothing.
        halvings: Number of times that the interval of this ratio is halved.
        images: Number of images on which the folded network is compared with the captured one.
        same_outputs: Settings of the comparison of outputs.
    """

    largest_ratio: float = 8.0
    halvings: int = 40
    images: int = 2
    same_outputs: SameOutputsSettings = SameOutputsSettings()


@dataclass(frozen=True, kw_only=True)
class LargestTensorSettings:
    """Which tensors a network may make of one image.

    Attributes:
        most_numbers: Largest number of elements of a tensor: a small file may ask for tensors that no memory holds.
        most_stated: The same, where the size of the images is a file's word alone.
    """

    most_numbers: int = 2**28
    most_stated: int = 2**26
