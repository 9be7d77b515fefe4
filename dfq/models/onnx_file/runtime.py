"""Compares a network with the ONNX file that it was made from, in ONNX Runtime on random images."""

import numpy as np
import torch
from torch import Tensor

from dfq.errors import DfqError
from dfq.graph.same_outputs import off_by, same_outputs
from dfq.graph.settings import SameOutputsSettings
from dfq.images.input_spec import worth_trying
from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.reading import OnnxFile
from dfq.models.onnx_file.session import session_of
from dfq.models.onnx_file.settings import ReadOnnxSettings

SMALLEST = 1e-7  # probabilities below it are noise of float32


class OriginalFile:
    """The file in ONNX Runtime, for any number of images (N, C, H, W)."""

    def __init__(self, file: OnnxFile, *, channels_last: bool):
        self.session = session_of(file)
        (given,) = (value for value in self.session.get_inputs() if value.name == file.input)
        self.kind = np.float16 if "float16" in given.type else np.float64 if "double" in given.type else np.float32
        self.file, self.channels_last = file, channels_last

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns all outputs; a file for a fixed number of images gets as many at a time."""
        if self.channels_last:
            images = images.permute(0, 2, 3, 1)
        fixed = self.file.shape[0] or len(images)
        missing = -len(images) % fixed
        whole = torch.cat([images, images[:1].expand(missing, *images.shape[1:])])
        parts = [self._run(part) for part in whole.split(fixed)]
        return tuple(torch.cat(each)[: len(images)] for each in zip(*parts, strict=True))

    def _run(self, images: Tensor) -> list[Tensor]:
        given = {self.file.input: np.ascontiguousarray(images.numpy(force=True)).astype(self.kind)}
        try:
            results = self.session.run(list(self.file.outputs), given)
        except Exception as error:  # ONNX Runtime has a class of its own for every kind of error
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise DfqError(
                f"ONNX Runtime cannot run '{self.file.path}': {reason}", "a file that it runs", "check --input-size"
            ) from error
        tensors = [torch.from_numpy(np.asarray(found)) for found in results]
        return [found.float() if found.is_floating_point() else found for found in tensors]


@torch.no_grad()
def check_same_outputs(
    network: OnnxNetwork, file: OnnxFile, size: tuple[int, int, int], settings: ReadOnnxSettings
) -> None:
    """Raises `DfqError` where `network` gives other outputs than the file does in ONNX Runtime."""
    original = OriginalFile(file, channels_last=network.channels_last)
    allowed = settings.same_outputs_float16 if file.has_float16 else settings.same_outputs
    for count in worth_trying(settings.batches, size):
        generator = torch.Generator().manual_seed(count)
        uniform, normal = (make(count, *size, generator=generator) for make in (torch.rand, torch.randn))
        for images in (uniform, 2 * normal):
            for name, found, expected in zip(file.outputs, _all(network, images), original(images), strict=True):
                if network.ends_in_softmax:  # small probabilities tell of logits as large ones do
                    found, expected = (each.clamp(min=SMALLEST).log() for each in (found, expected))
                if not _are_same(found, expected, allowed):
                    raise DfqError(
                        f"'{file.path}', read by dfq, gives another '{name}' for {count} images: "
                        f"{off_by(found, expected)}",
                        "the outputs that it has in ONNX Runtime",
                        "please report the file: this is a bug in dfq",
                        exit_code=1,
                    )


def _are_same(found: Tensor, expected: Tensor, settings: SameOutputsSettings) -> bool:
    """Returns whether two outputs are the same; what is no finite number must be none in both."""
    if found.shape != expected.shape or not torch.equal(found.isfinite(), expected.isfinite()):
        return False
    finite = expected.isfinite()
    return not finite.any() or same_outputs(found[finite], expected[finite], settings=settings)


def _all(network: OnnxNetwork, images: Tensor) -> tuple[Tensor, ...]:
    try:
        found = network(images)
    except (RuntimeError, IndexError, ValueError) as error:
        raise DfqError(
            f"'{network.path}' cannot be computed: {str(error).splitlines()[0][:200]}",
            "a network for images of that size",
            "check --input-size, or report the file",
        ) from error
    return found if isinstance(found, tuple) else (found,)
