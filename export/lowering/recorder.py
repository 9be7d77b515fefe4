"""Records the operators that modules write by name, and those that `dfq.export.writing` adds to them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

_CURRENT: ContextVar["Recorder | None"] = ContextVar("recorder", default=None)


class NoRow(Exception):
    """Something cannot be written here, so that the network must be written in another way."""


def current_recorder() -> "Recorder | None":
    """Returns the recorder that is at work; None: operators are for torch's exporter."""
    return _CURRENT.get()


class Recorder:
    """Collects the nodes and constants of a graph. Names that it makes up have a slash, which no parameter's name has.

    Args:
        shapes: The network that is written, on the device "meta".
        network: The same network with its contents; parameters and buffers give their names to the constants.
        opset: Version of the operators.
    """

    def __init__(self, shapes: nn.Module, network: nn.Module, opset: int):
        self.opset = opset
        self._names = {id(tensor): name for name, tensor in _tensors(shapes).items()}
        self._contents = _tensors(network)
        self._known: dict[int, tuple[Tensor, ir.Value]] = {}  # The tensors are kept, so that no id is used twice.
        self._numbers: dict[str, ir.Value] = {}
        self._transposed: dict[str, ir.Value] = {}
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []
        self.domains: set[str] = set()
        self.scope = ""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Lets operators that are written by name be recorded here within the context."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def know(self, tensor: Tensor, value: ir.Value) -> None:
        """Lets `tensor` stand for `value` where it is an operator's input."""
        self._known[id(tensor)] = (tensor, value)

    def value_of(self, tensor: Tensor) -> ir.Value:
        """Returns what a tensor stands for: a result, or a parameter or buffer of the network.

        Raises:
            NoRow: It is neither.
        """
        if id(tensor) not in self._known:
            if id(tensor) not in self._names:
                raise NoRow("a tensor that is no parameter")
            name = self._names[id(tensor)]
            self.know(tensor, self._constant(name, self._contents[name].contiguous().numpy()))
        return self._known[id(tensor)][1]

    def number(self, content: Sequence[int] | Sequence[float] | int | float) -> ir.Value:
        """Returns a constant: int64 for integers, and float32 for numbers in floating point."""
        array = np.array(content)
        array = array.astype(np.int64 if array.dtype.kind in "iu" or not array.size else np.float32)
        key = f"{array.dtype} {array.tolist()}"
        if key not in self._numbers:
            self._numbers[key] = self._constant(f"constant/{len(self._numbers)}", array)
        return self._numbers[key]

    def transposed(self, tensor: Tensor) -> ir.Value:
        """Returns a matrix of the network as a constant, transposed; it is stored once, however often it is read."""
        name = self._names[id(tensor)]
        if name not in self._transposed:
            content = self._contents[name].t().contiguous().numpy()
            self._transposed[name] = self._constant(f"{name}/transposed", content)
        return self._transposed[name]

    def add(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
        *,
        outputs: int = 1,
    ) -> list[ir.Value]:
        """Adds a node to the graph and returns its outputs; `operator` may begin with a domain and "::"."""
        domain, _, name = operator.rpartition("::")
        self.domains.add(domain)
        node = ir.node(name, inputs, dict(attributes or {}), domain=domain, num_outputs=outputs)
        node.metadata_props["pkg.torch.onnx.name_scopes"] = str([self.scope, name])  # as torch's exporter does
        for place, value in enumerate(node.outputs):
            value.name = f"value/{len(self.nodes)}/{place}"
        self.nodes.append(node)
        return list(node.outputs)

    def described(self) -> list:
        """Returns what was recorded as plain values, which can be compared."""
        nodes = [
            (node.op_type, [each and each.name for each in node.inputs], str(node.attributes)) for node in self.nodes
        ]
        return [nodes, {key: value.name for key, value in self._numbers.items()}]

    def symbolic(self, name: str, inputs: Sequence[Tensor], shape: tuple, dtype: torch.dtype, attributes) -> Tensor:
        """Adds a node by its name, and returns a tensor of its output's shape, which stands for the output."""
        (value,) = self.add(name, [self.value_of(tensor) for tensor in inputs], attributes)
        result = torch.empty(shape, dtype=dtype, device="meta")
        self.know(result, value)
        return result

    def _constant(self, name: str, content: np.ndarray) -> ir.Value:
        value = ir.val(name, const_value=ir.Tensor(content, name=name))
        self.constants.append(value)
        return value


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    named = (*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False))
    return {name: tensor.detach() if tensor.device.type != "meta" else tensor for name, tensor in named}
