"""The ONNX file that a network came from, as one more opinion on the files that were made of it."""

from pathlib import Path

from torch import Tensor

from dfq.export.validation.run_networks import Network
from dfq.graph.outputs import for_each
from dfq.models.onnx_file.read import image_size
from dfq.models.onnx_file.reading import read_onnx_file
from dfq.models.onnx_file.runtime import OriginalFile

ORIGINAL = "the original file"  # name of its row among the engines


def original_file(path: Path, images: Tensor) -> Network:
    """Returns the file in ONNX Runtime as a function of normalised images (N, C, H, W) to arrays.

    Args:
        path: The file as its maker wrote it; files for a fixed number of images and for (N, H, W, C) are possible.
        images: Images of the size that it is used with.

    Raises:
        DfqError: The file is missing or damaged, or takes images of another size.
    """
    file = read_onnx_file(path)
    _, channels_last = image_size(file, tuple(images.shape[1:]))
    original = OriginalFile(file, channels_last=channels_last)

    def run(batch: Tensor) -> object:
        found = original(batch)
        return for_each(lambda each: each.numpy(), found[0] if len(found) == 1 else found)

    return run
