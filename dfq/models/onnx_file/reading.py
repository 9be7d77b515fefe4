"""Reads an ONNX file as data: what is damaged, hostile or no network for images is refused."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from dfq.errors import DfqError
from dfq.models.onnx_file.external import COPY_AGAIN, external_array, is_elsewhere
from dfq.models.onnx_file.settings import ReadOnnxSettings

QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
# Types of numbers that quantized networks alone have.
QUANTIZED_TYPES = (
    TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2, TensorProto.FLOAT4E2M1,
    TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E4M3FNUZ, TensorProto.FLOAT8E5M2, TensorProto.FLOAT8E5M2FNUZ,
)  # fmt: skip
CONTROL = ("Loop", "Scan", "SequenceMap")
DOMAINS = ("", "ai.onnx")
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
CHANNELS = (1, 3, 4)  # numbers of channels of images
WHOLE_FILE = "a whole ONNX file"
IMAGES_NEEDED = "one input of images: (N, channels, height, width), or (N, height, width, channels)"


@dataclass(frozen=True)
class OnnxFile:
    """The content of an ONNX file.

    Attributes:
        path: The file.
        graph: Its graph, whose tensors are in `tensors`.
        opset: Version of its operators.
        tensors: Its stored tensors by name.
        input: Name of the images.
        shape: Shape of the images; None for a length that the file leaves open.
        outputs: Names of its outputs, in order.
        has_float16: Whether it computes with numbers of 16 bits.
        elsewhere: Names of the tensors whose numbers lie in another folder, to which links lead.
    """

    path: Path
    graph: GraphProto
    opset: int
    tensors: dict[str, np.ndarray]
    input: str
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    has_float16: bool
    elsewhere: tuple[str, ...]


def read_onnx_file(path: Path, *, settings: ReadOnnxSettings = ReadOnnxSettings()) -> OnnxFile:
    """Reads and checks a file; external data is read as `dfq.models.onnx_file.external` says.

    Raises:
        DfqError: The file is missing, damaged or hostile; it is quantized already; it has control flow; or it takes
            something else than images.
    """
    model = _parsed(path)
    opset = _opset(model, path, settings)
    _check_operators(model.graph, path, settings)
    tensors = {tensor.name: stored(tensor, path) for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in tensors]
    name, shape = _images(inputs, path)
    outputs = tuple(value.name for value in model.graph.output)
    used = {name for node in all_nodes(model.graph.node) for name in node.input}
    kinds = {value.dtype for name, value in tensors.items() if name in used}
    external = (each for each in model.graph.initializer if each.data_location == TensorProto.EXTERNAL)
    elsewhere = tuple(each.name for each in external if is_elsewhere(each, path))
    return OnnxFile(path, model.graph, opset, tensors, name, shape, outputs, np.dtype(np.float16) in kinds, elsewhere)


def stored(tensor: TensorProto, path: Path) -> np.ndarray:
    """Returns the numbers of a stored tensor.

    Raises:
        DfqError: The file does not hold as many numbers as it says, or they lie outside of the file's folder.
    """
    if tensor.data_type in QUANTIZED_TYPES:
        raise _quantized(path, f"tensor '{tensor.name}' is {TensorProto.DataType.Name(tensor.data_type)}")
    count = int(np.prod([int(length) for length in tensor.dims], dtype=object)) if tensor.dims else 1
    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError as error:
        raise DfqError(f"'{path}' has a tensor '{tensor.name}' of an unknown type", WHOLE_FILE, COPY_AGAIN) from error
    if any(length < 0 for length in tensor.dims):
        raise DfqError(f"'{path}' has a tensor '{tensor.name}' of negative size", WHOLE_FILE, COPY_AGAIN)
    try:
        if tensor.data_location == TensorProto.EXTERNAL:
            return external_array(tensor, path, kind, count)
        fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
        held = sum(len(getattr(tensor, field)) for field in fields)
        if tensor.HasField("raw_data"):
            held = len(tensor.raw_data) // max(kind.itemsize, 1)
        if held == count:
            return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DfqError(f"'{path}', tensor '{tensor.name}': {reason}", WHOLE_FILE, COPY_AGAIN) from error
    raise DfqError(
        f"'{path}' says that tensor '{tensor.name}' has {count:,} numbers and holds {held:,}", WHOLE_FILE, COPY_AGAIN
    )


def _quantized(path: Path, reason: str) -> DfqError:
    return DfqError(
        f"'{path}' is already quantized: {reason}",
        "a network in floating point",
        "pass the file that it was made from",
    )


def _parsed(path: Path) -> ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError as error:
        raise DfqError(f"no file '{path}'", "an ONNX file", "check the path") from error
    except (DecodeError, OSError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DfqError(f"'{path}' is damaged or no ONNX file: {reason}", WHOLE_FILE, COPY_AGAIN) from error
    if not model.graph.node or not model.graph.output:
        raise DfqError(f"'{path}' holds no network", WHOLE_FILE, COPY_AGAIN)
    return model


def _opset(model: ModelProto, path: Path, settings: ReadOnnxSettings) -> int:
    found = max((entry.version for entry in model.opset_import if entry.domain in DOMAINS), default=0)
    if not settings.oldest_opset <= found <= settings.newest_opset:
        raise DfqError(
            f"'{path}' has the operators of opset {found}",
            f"opset {settings.oldest_opset} to {settings.newest_opset}",
            "convert it with onnx.version_converter, or export the network again",
        )
    return found


def _check_operators(graph: GraphProto, path: Path, settings: ReadOnnxSettings) -> None:
    for count, node in enumerate(all_nodes(graph.node)):
        if count >= settings.most_nodes:
            raise DfqError(f"'{path}' has more than {settings.most_nodes:,} nodes", "a network for images", COPY_AGAIN)
        if node.op_type in QUANTIZED or node.op_type.startswith("QLinear"):
            raise _quantized(path, f"node '{node.name}' is {node.op_type}")
        if node.op_type in CONTROL or node.op_type.startswith(("Sequence", "Optional")):
            raise DfqError(
                f"'{path}' has control flow or sequences: node '{node.name}' is {node.op_type}",
                "a network that does the same for every image",
                "export the part of the network in front of it",
            )
        for attribute in node.attribute:
            tensors = (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
                raise DfqError(
                    f"'{path}' keeps an attribute of node '{node.name}' in another file", WHOLE_FILE, COPY_AGAIN
                )


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yields the nodes of a graph and of the graphs inside them, whatever type their attributes claim to have."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from all_nodes(graph.node)


def _images(inputs: list[onnx.ValueInfoProto], path: Path) -> tuple[str, tuple[int | None, ...]]:
    if len(inputs) != 1:
        names = ", ".join(f"'{value.name}'" for value in inputs) or "nothing"
        raise DfqError(f"'{path}' takes {names}", IMAGES_NEEDED, "export the part of the network that sees images")
    kind = inputs[0].type.tensor_type
    shape = tuple(_length(dim) for dim in kind.shape.dim)
    if kind.elem_type not in FLOATS or len(shape) != 4:
        words = ", ".join("?" if length is None else str(length) for length in shape)
        known = kind.elem_type in TensorProto.DataType.values() and kind.elem_type
        name = TensorProto.DataType.Name(kind.elem_type).lower() if known else "no tensor"
        raise DfqError(
            f"'{path}' takes '{inputs[0].name}', {name} ({words})",
            f"{IMAGES_NEEDED}, in floating point",
            "dfq compresses networks for images, and neither text nor audio",
        )
    return inputs[0].name, shape


def _length(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None
