"""`write_directly` turns a lowered network into an ONNX graph where every operator has a row here.

torch's exporter traces a network three times and takes seconds for that. A lowered network is a plain list of
operators, so that one pass over it is enough. The other networks are left to torch's exporter.
"""

import copy
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch import Tensor, fx, nn

from dfq.export.lowering.lower import prepare
from dfq.export.lowering.onnx_modules import BY_NAME
from dfq.export.lowering.recorder import NoRow, Recorder
from dfq.export.writing.call import Batch, Call, Written
from dfq.export.writing.functions import FUNCTIONS
from dfq.export.writing.layers import LAYERS
from dfq.graph.rewriting.module_paths import innermost_path
from dfq.images.input_spec import InputSpec
from dfq.quantizers.targets import DEFAULT_TARGET, find_target

SIZES = (torch.Tensor.size, "size")  # as a function and as a method
EXAMPLES = (5, 7)  # With either number of images the graph must be the same, where the file leaves it open.


def write_directly(
    network: fx.GraphModule, input_spec: InputSpec, *, batch_size: int | None, opset: int
) -> ir.Model | None:
    """Returns the network as an ONNX model, or None where something in it has no row.

    Args:
        network: A network of `dfq.export.lowering.lower.prepare`.
        input_spec: Size of the images.
        batch_size: The number of images of the file; None leaves it open.
        opset: Version of the operators.
    """
    writers = []
    for count in (batch_size,) if batch_size else EXAMPLES:
        writer = _Writer(network, batch_size, opset)
        try:
            with torch.no_grad(), writer.recorder.recording():
                writer.run(torch.empty(count, *input_spec.size, device="meta"))
        except (NoRow, TypeError, ValueError, LookupError, RuntimeError):
            return None  # The other errors are arguments of a form that no row expects.
        writers.append(writer)
    if any(other.recorder.described() != writer.recorder.described() for other in writers):
        return None
    for value, result in writer.outputs:
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(writer.shape(result))
    imports = {domain: opset if domain == "" else 1 for domain in ("", *sorted(writer.recorder.domains))}
    graph = ir.Graph(
        [writer.images],
        [value for value, _ in writer.outputs],
        nodes=writer.recorder.nodes,
        initializers=writer.recorder.constants,
        opset_imports=imports,
        name="main_graph",
    )
    model = ir.Model(graph, ir_version=10)
    optimizer.optimize(model)  # torch's exporter does so, too.
    return model


def is_written_directly(network: fx.GraphModule, input_spec: InputSpec) -> bool:
    """Returns whether a traced network is written in one pass, for the default runtime."""
    target = find_target(DEFAULT_TARGET)
    lowered, _ = prepare(network, input_spec, target)
    return write_directly(lowered, input_spec, batch_size=None, opset=target.opset) is not None


class _Writer(fx.Interpreter):
    """Passes the shape of images through a network and writes what each node computes."""

    def __init__(self, network: fx.GraphModule, batch_size: int | None, opset: int):
        self.network, self.batch_size = copy.deepcopy(network).to("meta"), batch_size
        super().__init__(self.network)
        self.recorder = Recorder(self.network, network, opset)
        self.written: dict[fx.Node, Any] = {}
        self.outputs: list[tuple[ir.Value, Tensor]] = []

    def shape(self, tensor: Tensor) -> list[int | str]:
        """Returns the shape of a tensor whose first dimension counts the images."""
        return list(tensor.shape) if self.batch_size else ["batch", *tensor.shape[1:]]

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        self._check_row(n)
        self.recorder.scope = _scope(n, self.network)
        result = super().run_node(n)
        if n.op == "placeholder":
            self.images = ir.val("images", ir.DataType.FLOAT, self.shape(result))
            self.recorder.know(result, self.images)
            self.written[n] = self.images
        elif n.op == "output":
            self._finish(n, result)
        else:
            self.written[n] = self._write(n, args, kwargs, result)
        return result

    def _check_row(self, node: fx.Node) -> None:
        """Raises `NoRow` where nothing says how a node is written."""
        if node.op in ("call_function", "call_method"):
            has_row = node.target in SIZES or (node.op == "call_function" and node.target in FUNCTIONS)
        elif node.op == "call_module":
            module = self.network.get_submodule(str(node.target))
            has_row = isinstance(module, BY_NAME) or type(module) in LAYERS
        else:
            has_row = True
        if not has_row:
            raise NoRow(str(node.target))

    def _write(self, node: fx.Node, args: tuple, kwargs: dict, result: Any) -> Any:
        """Writes what a node computes; returns the values that stand for it, or a number."""
        if node.target in SIZES and len(args) == 2:
            return Batch() if self.batch_size is None and args[1] == 0 else result
        arguments, keywords = (fx.map_arg(each, self.written.__getitem__) for each in (node.args, node.kwargs))
        if isinstance(result, int) and all(isinstance(each, int) for each in arguments):
            return result
        _check_types(result)
        if node.op == "get_attr":
            return self.recorder.value_of(result)
        call = Call(self.recorder, arguments, keywords, args, result)
        if node.op == "call_function":
            written = FUNCTIONS[node.target](call)
        else:
            written = self._of_module(self.network.get_submodule(str(node.target)), call)
        if isinstance(written, ir.Value):
            self.recorder.know(result, written)
        return written

    def _of_module(self, module: nn.Module, call: Call) -> Written:
        if isinstance(module, BY_NAME):  # It has recorded its operators.
            return self.recorder.value_of(call.result)
        return LAYERS[type(module)](call, module)

    def _finish(self, node: fx.Node, result: Any) -> None:
        values = fx.map_arg(node.args[0], self.written.__getitem__)
        pairs = [(values, result)] if isinstance(result, Tensor) else list(zip(values, result, strict=True))
        for value, tensor in pairs:
            if not isinstance(value, ir.Value) or value is self.images or value.producer() is None:
                raise NoRow("an output that is no result")
            _check_types(tensor)
        self.outputs = pairs


def _check_types(result: Any) -> None:
    """Raises `NoRow` unless all results are in float32, which each row takes for granted."""
    for tensor in result if isinstance(result, (list, tuple)) else (result,):
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32:
            raise NoRow("a result that is not in float32")


def _scope(node: fx.Node, network: fx.GraphModule) -> str:
    """Returns the path of the module that computes a node, by which the written nodes are named."""
    if node.op == "call_module" and any(True for _ in network.get_submodule(str(node.target)).buffers()):
        return str(node.target)
    return innermost_path(node) or (str(node.target) if node.op == "call_module" else node.name)
