"""`read_onnx`: an ONNX file becomes a captured network, like any other."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.graph.file_interface import INTERFACE, FileInterface
from dfq.graph.rewriting.rewrite import CapturedNetwork
from dfq.images.input_spec import InputSpec
from dfq.models.onnx_file.constants import HALVES
from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.reading import CHANNELS, IMAGES_NEEDED, OnnxFile, read_onnx_file
from dfq.models.onnx_file.runtime import check_same_outputs
from dfq.models.onnx_file.settings import ReadOnnxSettings

SUFFIX = ".onnx"
CHANNELS_LAST = "channels_last"  # key of a captured network's `meta`: the file takes images (N, H, W, C)
ASSUMED = "assumed"  # the same: a sentence for everything that was taken and may not be wanted


def read_onnx(
    path: str | Path,
    size: Sequence[int] | None = None,
    *,
    allow_float_ops: bool = False,
    settings: ReadOnnxSettings = ReadOnnxSettings(),
) -> CapturedNetwork:
    """Reads an ONNX file as a network of layers for any number of images; no code in it is executed.

    The network is compared with the file in ONNX Runtime on random images. Numbers of 16 and 64 bits become 32-bit
    numbers.

    Args:
        size: Size (C, H, W) of the images; needed where the file leaves it open.
        allow_float_ops: Whether operators are taken that are seldom in networks for images, and for which there are no
            integers (`dfq.models.onnx_file.operators.float_operators`). They stay in floating point.

    Raises:
        DfqError: The file is missing, damaged, hostile, quantized already, or no network for images; it has an operator
            that dfq does not know; or what was read gives other outputs than ONNX Runtime.
    """
    file = read_onnx_file(Path(path), settings=settings)
    found, channels_last = image_size(file, size, settings=settings)
    if size is None:
        settings = replace(settings, largest_tensor=settings.largest_stated)
    network = OnnxNetwork(file, found, channels_last=channels_last, allow_float_ops=allow_float_ops, settings=settings)
    _check_rows(network, file, settings)
    check_same_outputs(network, file, found, settings)
    channels = found[0]
    captured = capture(network, InputSpec(size=found, mean=(0.0,) * channels, std=(1.0,) * channels))
    captured.meta[CHANNELS_LAST] = channels_last
    captured.meta[ASSUMED] = _assumed(network, file)
    captured.meta[INTERFACE] = FileInterface(file.input, tuple(file.outputs))
    return captured


def _assumed(network: OnnxNetwork, file: OnnxFile) -> tuple[str, ...]:
    kinds = Counter(value.dtype.name for value in file.tensors.values() if value.dtype.name in HALVES)
    said = [f"float32 in place of {kind}, which {count} tensors have" for kind, count in kinds.items()]
    if network.float_operators:
        names = ", ".join(network.float_operators)
        stay = "it stays" if len(network.float_operators) == 1 else "they stay"
        said.append(f"that {names} may be taken: {stay} in floating point (--allow-float-ops)")
    return tuple(said)


def _check_rows(network: OnnxNetwork, file: OnnxFile, settings: ReadOnnxSettings) -> None:
    """Raises `DfqError` where an output has no row for each image."""
    for name, shape in zip(file.outputs, network.output_shapes, strict=True):
        if not shape or shape[0] != settings.counts[0]:
            given = ", ".join("?" if length % settings.counts[0] == 0 else str(length) for length in shape)
            raise DfqError(
                f"'{file.path}' gives '{name}' of shape ({given})",
                "outputs with a row for each image, as (N, …)",
                "export the network without the operators that join its images",
            )


def image_size(
    file: OnnxFile, size: Sequence[int] | None, *, settings: ReadOnnxSettings = ReadOnnxSettings()
) -> tuple[tuple[int, int, int], bool]:
    """Returns the size (C, H, W) of the file's images, and whether it takes them as (N, H, W, C).

    Raises:
        DfqError: The file leaves the size open and nobody says it, or it takes another one.
    """
    _, second, third, last = file.shape
    channels_last = second not in CHANNELS and last in CHANNELS
    own = (last, second, third) if channels_last else (second, third, last)
    given: tuple[int | None, ...] = tuple(size) if size is not None else (None, None, None)
    if any(one is not None and other is not None and one != other for one, other in zip(own, given, strict=True)):
        raise DfqError(f"--input-size {_times(given)} for '{file.path}', which takes {_times(own)}", IMAGES_NEEDED,
                       "leave --input-size out")  # fmt: skip
    found = tuple(one if one is not None else other for one, other in zip(own, given, strict=True))
    if any(length is None for length in found):
        raise DfqError(
            f"'{file.path}' takes images of {_times(own)}, and leaves some of it open",
            "the size that it is used with",
            "for example --input-size 3x224x224",
        )
    size_of_batch = math.prod(found) * max(file.shape[0] or 1, max(settings.batches))  # type: ignore[arg-type]
    if size_of_batch > settings.largest_tensor:
        raise DfqError(f"'{file.path}' takes images of {_times(found)}, {file.shape[0] or 1} at a time", IMAGES_NEEDED,
                       "export the network for one image of a size that memory holds")  # fmt: skip
    return found, channels_last  # type: ignore[return-value]


def _times(size: Sequence[int | None]) -> str:
    return "x".join("?" if length is None else str(length) for length in size)
