"""`ReadOnnxSettings`: what is read of an ONNX file, and how it is compared with ONNX Runtime."""

from dataclasses import dataclass

from dfq.graph.settings import SameOutputsSettings


@dataclass(frozen=True, kw_only=True)
class ReadOnnxSettings:
    """How an ONNX file is read.

    Attributes:
        oldest_opset: The first version of the operators whose meaning the table knows.
        newest_opset: The last one.
        counts: Primes that stand for the number of images while sizes are folded; sizes of images are far smaller.
        largest_tensor: Largest number of elements of a constant, and of a tensor for one image, that is computed: a
            small file may ask for tensors that no memory holds.
        largest_stated: The same for a tensor for one image, where the size of images is the file's word alone.
        largest_constant: Number of elements that any constant may have. Above it, twice as many as the file's tensors
            have together are allowed.
        most_constants: Largest number of numbers that are computed of constants, over all nodes.
        most_nodes: Largest number of nodes, those of inner graphs included.
        batches: Numbers of images on which the network is compared with ONNX Runtime.
        same_outputs: Settings of that comparison.
        same_outputs_float16: The same for a file with numbers of 16 bits, which dfq computes in 32.
    """

    oldest_opset: int = 7
    newest_opset: int = 25
    counts: tuple[int, int] = (1_000_003, 1_000_033)
    largest_tensor: int = 2**28
    largest_stated: int = 2**26
    largest_constant: int = 2**25
    most_constants: int = 2**30
    most_nodes: int = 50_000
    batches: tuple[int, ...] = (1, 2, 5)
    same_outputs: SameOutputsSettings = SameOutputsSettings()
    same_outputs_float16: SameOutputsSettings = SameOutputsSettings(tolerance=0.02)
