"""`export_onnx` and `export_float_onnx` write a network as a checked ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from torch import fx, nn

from dfq.errors import DfqError
from dfq.export.forgotten_traces import forget_sizes, forgetting_sources
from dfq.export.identity import MADE_FROM
from dfq.export.lowering.integer_weights import IntegerWeights
from dfq.export.lowering.lower import prepare
from dfq.export.packing.integer_layout import apply_integer_layout
from dfq.export.writing.write import write_directly
from dfq.graph.capture.capture import capture
from dfq.graph.file_interface import FileInterface, interface_of
from dfq.graph.final_softmax import add_final_softmax
from dfq.graph.folding.canonical import folded
from dfq.graph.outputs import output_nodes
from dfq.images.input_spec import InputSpec
from dfq.quantizers.targets import DEFAULT_TARGET, Target, find_target
from dfq.student.convert import activation_quantizers
from dfq.system.atomic_files import replacing
from dfq.system.content_hash import digest_of_tensors

EXAMPLES = 2  # The graph is exported with this many images where their number is left open.
MAX_REASON = 600  # A message quotes at most this many characters of the exporter's reason.


@forgetting_sources()
def export_onnx(
    student: fx.GraphModule,
    path: str | Path,
    input_spec: InputSpec,
    *,
    batch_size: int | None = None,
    target: str | Target = DEFAULT_TARGET,
    interface: FileInterface | None = None,
) -> Path:
    """Writes a calibrated student as an ONNX file that integer kernels run; returns its path.

    Activations become QuantizeLinear, a Clip below 8 bits, and DequantizeLinear. Weights are INT8 per channel, or
    packed INT4 or INT2 with a cast and a factor. Biases are INT32. `dfq.quantizers.targets` says what differs between
    runtimes. The student does not change. The file takes normalised images (N, C, H, W) and gives what the student
    gives, in this order, under the names of `interface`. It appears whole or not at all.

    Args:
        student: A student whose ranges are calibrated.
        path: Where the file is written.
        input_spec: Size of the images.
        batch_size: N; None leaves it open.
        target: The runtime, at best that of the student's scheme. Another one is possible where it allows its grids.
        interface: Names of input and outputs, and whether the file ends in a softmax (`Teacher.interface`); None: the
            names that the network brings along, and no softmax.

    Raises:
        DfqError: The target is unknown or cannot hold the student's grids, ONNX lacks an operator, or the folder cannot
            be written to.
    """
    row = find_target(target)
    _check_grids(student, row)
    lowered = _Lowered(*prepare(student, input_spec, row), interface or interface_of(student))
    made_from = digest_of_tensors(student.state_dict())
    return _write(lowered, Path(path), input_spec, batch_size, row, made_from)


@forgetting_sources()
def export_float_onnx(
    model: nn.Module,
    path: str | Path,
    input_spec: InputSpec,
    *,
    batch_size: int | None = None,
    target: str | Target = DEFAULT_TARGET,
    interface: FileInterface | None = None,
) -> Path:
    """Writes a network in floating point with folded BatchNorm; sizes and latencies are compared with this twin.

    Raises:
        DfqError: The file cannot be written (see `export_onnx`), or the network cannot be captured.
    """
    row = find_target(target)
    network = folded(capture(model, input_spec), input_spec)
    lowered = _Lowered(*prepare(network, input_spec, row), interface or interface_of(network))
    return _write(lowered, Path(path), input_spec, batch_size, row)


def _check_grids(student: fx.GraphModule, target: Target) -> None:
    moved = [name for name, quantizer in activation_quantizers(student).items() if not quantizer.spec.symmetric]
    if moved and not target.zero_points:
        raise DfqError(
            f"a student whose activations have zero points (such as {moved[0]})",
            f"symmetric grids for --target {target.name}: {target.reason}",
            f"quantize for it from the start: dfq quantize model.pt --target {target.name}",
        )


@dataclass(frozen=True)
class _Lowered:
    """A network of named operators, the integers of its weights, and how its file is met."""

    network: fx.GraphModule
    weights: Mapping[str, IntegerWeights]
    interface: FileInterface


def _write(
    lowered: _Lowered,
    path: Path,
    input_spec: InputSpec,
    batch_size: int | None,
    target: Target,
    made_from: str | None = None,
) -> Path:
    if lowered.interface.softmax:
        add_final_softmax(lowered.network)
    _own_each_output(lowered.network)
    model = _convert(lowered, input_spec, batch_size, target.opset)
    apply_integer_layout(model, lowered.weights, target)
    _name_ends(model.graph, lowered.interface)
    opsets = [onnx.helper.make_opsetid("", model.opset_imports[""])]
    model.ir_version = onnx.helper.find_min_ir_version_for(opsets)
    model.producer_name, model.producer_version = "dfq", None
    if made_from is not None:
        model.metadata_props[MADE_FROM] = made_from
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
    return path


def _own_each_output(network: fx.GraphModule) -> None:
    """Copies what a network gives twice, or gives as it got it: outputs of a file are values of their own."""
    output = next(node for node in network.graph.nodes if node.op == "output")
    if not isinstance(output.args[0], (tuple, list)):
        return
    own: list[fx.Node] = []
    for node in output_nodes(network):
        with network.graph.inserting_before(output):
            is_own = node.op != "placeholder" and node not in own
            own.append(node if is_own else network.graph.call_function(torch.clone, (node,)))
    output.args = (tuple(own),)
    network.recompile()


def _name_ends(graph: ir.Graph, interface: FileInterface) -> None:
    """Gives the input and the outputs their names; a value inside of the graph that has one of them gets another."""
    named = dict(zip(graph.outputs, interface.outputs, strict=True))
    ends = {id(value): name for value, name in ((graph.inputs[0], interface.images), *named.items())}
    for initializer in [each for each in graph.initializers.values() if each.name in ends.values()]:
        del graph.initializers[initializer.name]  # type: ignore[arg-type]
        initializer.name = f"{initializer.name}_inside"
        graph.initializers[initializer.name] = initializer
    for node in graph:
        for value in node.outputs:
            if id(value) not in ends and value.name in ends.values():
                value.name = f"{value.name}_inside"
    for value, name in ((graph.inputs[0], interface.images), *named.items()):
        value.name = name


def _convert(lowered: _Lowered, input_spec: InputSpec, batch_size: int | None, opset: int) -> ir.Model:
    written = write_directly(lowered.network, input_spec, batch_size=batch_size, opset=opset)
    if written is not None:
        return written
    images = torch.zeros(batch_size or EXAMPLES, *input_spec.size)
    dynamic = None if batch_size else ({0: torch.export.Dim.DYNAMIC},)
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                lowered.network,
                (images,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=["images"],
                output_names=[f"output_{place}" for place in range(len(lowered.interface.outputs))],
                dynamic_shapes=dynamic,
            )
    except Exception as error:
        raise _unsupported(error, opset) from error
    assert program is not None
    forget_sizes(program.exported_program)
    if batch_size is None:
        program.model.graph.inputs[0].shape = ir.Shape(["batch", *input_spec.size])
        for output in program.model.graph.outputs:
            if output.shape is not None:
                output.shape = ir.Shape(["batch", *list(output.shape)[1:]])
    return program.model


def _unsupported(error: Exception, opset: int) -> DfqError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    reasons = [line.strip() for line in str(cause).splitlines() if line.strip()]
    place = [line.strip() for line in str(error).splitlines() if "node" in line.lower()]
    reason = "; ".join(dict.fromkeys([*place[:1], *reasons[:1]])) or type(cause).__name__
    return DfqError(
        f"an operator that cannot be written as ONNX: {reason[:MAX_REASON]}",
        f"operators of ONNX opset {opset}",
        "replace that operator in the network and pass it as --arch path/to/net.py:factory",
        exit_code=1,
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silences torch's exporter, which prints, logs and warns about its own progress; none of it helps the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
