"""Rewrites a program of `torch.export` as a graph of layers that computes the same."""

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from dfq.graph.rewriting.aten_functions import FUNCTIONS, IDENTITIES, WEIGHTED, changes_nothing, even_pooling
from dfq.graph.rewriting.aten_layers import (
    DROPOUTS,
    LAYERS,
    arguments_of,
    global_pooling,
    is_check,
    uses_batch_statistics,
)
from dfq.graph.rewriting.constants import Constant, evaluated
from dfq.graph.rewriting.frozen_norms import restore_batch_norms
from dfq.graph.rewriting.module_paths import cleaned_stack, innermost_path, layer_name, safe_name
from dfq.graph.rewriting.ownership import put, same_layer
from dfq.graph.rewriting.refusals import batch_statistics, control_flow

IMAGES = "images"  # name of the graph's input


class CapturedNetwork(fx.GraphModule):
    """A network as a graph of torch's functions and of layers, which have the names that they have in the module."""

    @property
    def image_size(self) -> tuple[int, ...]:
        """Size (C, H, W) of the images that the network was captured with."""
        return self.meta["image_size"]


def rewritten(program: ExportedProgram, *, trains: bool = False) -> CapturedNetwork:
    """Returns the network of a program: its convolutions, linear layers and BatchNorm share the program's parameters.

    What is computed from parameters alone (weight standardisation, weight norm, …) is evaluated once.

    Args:
        program: Program with one input, images (N, C, H, W).
        trains: Whether to keep what follows training mode (dropout) or depends on trained parameters.

    Raises:
        DfqError: The program normalises by the statistics of the batch, or branches on the values of a tensor.
    """
    rewriting = _Rewriting(program, trains)
    for node in program.graph.nodes:
        rewriting.take(node)
    network = CapturedNetwork(rewriting.owner(), rewriting.graph, class_name="CapturedNetwork")
    network.graph.lint()
    return network.eval()


class _Rewriting:
    def __init__(self, program: ExportedProgram, trains: bool):
        self.program, self.trains = program, trains
        signature = program.graph_signature
        tensors = {**program.constants, **program.state_dict}
        self.stored = {
            placeholder: (name, tensors[name])
            for placeholder, name in (
                *signature.inputs_to_parameters.items(),
                *signature.inputs_to_buffers.items(),
                *signature.inputs_to_lifted_tensor_constants.items(),
            )
        }
        self.outputs = signature.user_outputs
        self.graph = fx.Graph()
        self.values: dict[fx.Node, Any] = {}  # a node of the new graph, a `Constant`, or a list of them for each node
        self.owned: dict[str, Any] = {}  # layers and tensors that the new graph calls and reads, by name
        self.of_layers = {  # names of the tensors that belong to layers
            argument.name
            for node in program.graph.nodes
            if node.target in LAYERS
            for argument in node.all_input_nodes[1:]
        }

    def owner(self) -> nn.Module:
        """Returns a module with everything that the new graph calls and reads, and erases unused nodes."""
        if not self.trains:
            restore_batch_norms(self.graph, self.owned, dict(self.stored.values()))
        for node in reversed(list(self.graph.nodes)):
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)
        root = nn.Module()
        for name, value in self.owned.items():
            put(root, name, value)
        return root

    def take(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._take_input(node)
        elif node.op == "output":
            results = dict(zip([str(getattr(n, "name", n)) for n in node.args[0]], node.args[0], strict=True))  # type: ignore[union-attr, arg-type]
            given = [self._argument(results[str(name)]) for name in self.outputs]
            chosen = [value for value in given if isinstance(value, fx.Node)]  # None and numbers are no outputs
            self.graph.output(chosen[0] if len(chosen) == 1 else tuple(chosen))
        elif not is_check(node):
            value = self._call(node)
            if isinstance(value, fx.Node) and not value.meta:
                value.meta = {"nn_module_stack": cleaned_stack(node)}
            self.values[node] = value

    def _take_input(self, node: fx.Node) -> None:
        if node.name in self.stored:
            name, tensor = self.stored[node.name]
            self.values[node] = Constant(tensor, (name,), name)
        else:
            self.values[node] = self.graph.placeholder(IMAGES)

    def _call(self, node: fx.Node) -> Any:
        if node.target is operator.getitem and not isinstance(source := self.values[node.args[0]], fx.Node):
            return source[node.args[1]]  # the source is a list of results
        if uses_batch_statistics(node):
            raise batch_statistics(node)
        if node.target in IDENTITIES:
            return self._identity(node)
        constant = None if node.op == "get_attr" else evaluated(node, self.values, trains=self.trains)
        if constant is not None:
            return constant
        if node.op == "get_attr":
            raise control_flow(node)
        if node.target in LAYERS and (layer := self._layer(node)) is not None:
            return layer
        return self._function(node)

    def _identity(self, node: fx.Node) -> Any:
        source = self.values[node.args[0]]
        if not (self.trains and node.target in DROPOUTS):
            return source
        dropout = DROPOUTS[node.target](arguments_of(node)["p"]).eval()
        name = self._own(safe_name(innermost_path(node) or node.name), dropout)
        return self.graph.call_module(name, (self._argument(node.args[0]),))

    def _layer(self, node: fx.Node) -> Any:
        """Returns the call of the layer that `node` is, or None where its weights depend on the images."""
        row, arguments = LAYERS[node.target], arguments_of(node)
        read = arguments[row.read]
        tensors = {name: self.values[a] for name, a in arguments.items() if isinstance(a, fx.Node) and name != row.read}
        if row.weight not in tensors or not all(isinstance(tensor, Constant) for tensor in tensors.values()):
            return None
        values = {name: constant.value for name, constant in tensors.items()}
        layer = row.make({**arguments, **values, "rank": read.meta["val"].dim()})
        if layer is None:
            return None
        call = self.graph.call_module(self._own(layer_name(node, tensors[row.weight]), layer), (self._argument(read),))
        call.meta = {"nn_module_stack": cleaned_stack(node)}
        is_tuple = node.target is torch.ops.aten._native_batch_norm_legit_no_training.default
        return [call, None, None] if is_tuple else call

    def _own(self, wanted: str, layer: nn.Module) -> str:
        """Returns the name under which the network owns the layer: one weight that is called twice is one layer."""
        name, count = wanted, 1
        while name in self.owned and not same_layer(self.owned[name], layer):
            count += 1
            name = f"{wanted}_{count}"
        self.owned.setdefault(name, layer)
        return name

    def _function(self, node: fx.Node) -> fx.Node:
        if isinstance(node.target, torch._ops.OpOverload):
            arguments = arguments_of(node)
            pooling = global_pooling(node, arguments)
            if pooling is not None:
                name = self._own(f"global_pool_{node.name}", pooling)
                return self.graph.call_module(name, (self._argument(node.args[0]),))
            make = FUNCTIONS.get(node.target)
            call = even_pooling(node, arguments) or (make(arguments) if make is not None else None)
            if call is not None and changes_nothing(*call[:2]) and _dtype(node) is _dtype(node.args[0]):
                return self._argument(node.args[0])
            if call is not None:
                function, args, kwargs = fx.map_arg(call, self._argument)  # type: ignore[type-var]
                if node.target in WEIGHTED and arguments["alpha"] != 1:
                    args = (args[0], self._times(args[1], arguments["alpha"], f"constant_{node.name}"))
                if function is torch.Tensor.size:
                    return self.graph.call_method("size", args)
                if function is torch.reshape:
                    args = (args[0], _free_of_batch(args[1], node))
                return self.graph.call_function(function, args, kwargs)
        args, kwargs = fx.map_arg((node.args, node.kwargs), self._argument)
        return self.graph.call_function(node.target, args, kwargs)  # type: ignore[arg-type]

    def _times(self, value: Any, alpha: float, name: str) -> Any:
        """Multiplies a value of the new graph or a number by `alpha`; a constant becomes a new one under `name`."""
        if not isinstance(value, fx.Node):
            return value * alpha
        if value.op != "get_attr" or (self.trains and self.owned[str(value.target)].requires_grad):
            return self.graph.call_function(operator.mul, (value, alpha))
        self.owned[name] = self.owned[str(value.target)].detach() * alpha
        read = self.graph.get_attr(name)
        read.meta = dict(value.meta)
        return read

    def _argument(self, node: Any) -> Any:
        """Returns what stands for a node of the program in the new graph."""
        value = self.values[node] if isinstance(node, fx.Node) else node
        if not isinstance(value, Constant):
            return value
        name = value.name
        if name is None or (isinstance(node, fx.Node) and node.name in self.of_layers):
            name = f"constant_{node.name}"
        name = safe_name(name)
        self.owned[name] = value.value
        read = self.graph.get_attr(name)
        read.meta = {"sources": value.sources}
        return read


def _dtype(node: Any) -> torch.dtype | None:
    return getattr(node.meta.get("val"), "dtype", None)


def _free_of_batch(sizes: Any, node: fx.Node) -> list:
    """Returns the sizes of a view, with −1 for the size that depends on the number of images where only one does."""
    lengths = list(zip(sizes, node.meta["val"].shape, strict=True))
    depends = [isinstance(size, fx.Node) or not isinstance(length, int) for size, length in lengths]
    if sum(depends) > 1:
        return list(sizes)
    return [-1 if free else length for free, (_, length) in zip(depends, lengths, strict=True)]
