"""A .pt2 file (`torch.export.save`) → a network with layers, which computes the same."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.models.aten_layers import DECOMPOSED, FUNCTIONS, IDENTITIES, LAYERS, arguments_of
from dfq.models.exported_archive import EXPORT_AGAIN, read_archive

OTHER_BATCH = 3
TOLERANCE = 1e-4  # of the largest logit: kernels may add in another order
SUFFIX = ".pt2"


class ExportedNetwork(fx.GraphModule):
    """The network of a .pt2 file.

    Attributes:
        image_size: (C, H, W) that it was exported with.
    """

    image_size: tuple[int, ...]


def read_exported(path: str | Path) -> ExportedNetwork:
    """Reads a .pt2 file; nothing in it is executed (see `dfq.models.exported_archive`).

    Convolutions, linear layers and BatchNorm become layers under the names that they had in the network; other
    operators become the calls that `dfq.operators` knows, or stay as they are. The result is compared with what
    torch makes of the program, on random images, before it is given back.

    Raises:
        DfqError: a missing or unsafe file, a program that is not one of an image classifier in evaluation mode, or
            that takes only the number of images that it was exported with.
    """
    file = Path(path)
    if not file.is_file():
        raise DfqError(f"no file '{file}'", "a file of torch.export.save", "check the path, or pass --arch model.pt2")
    program = read_archive(file)
    original: Any = program.module(check_guards=False)
    batch, size = _input_shape(original, file)
    _check_mode(original, file)
    network = ExportedNetwork(*_rewritten(original), class_name="ExportedNetwork")
    network.image_size = size
    network.eval()
    _check_same(network, original, torch.randn(batch, *size, generator=torch.Generator().manual_seed(0)), file)
    return network


def _input_shape(original: fx.GraphModule, file: Path) -> tuple[int, tuple[int, ...]]:
    """(a batch size that the program takes, (C, H, W))."""
    inputs = [node for node in original.graph.nodes if node.op == "placeholder"]
    value = inputs[0].meta.get("val") if len(inputs) == 1 else None
    shape = tuple(value.shape) if isinstance(value, Tensor) else ()
    if len(shape) != 4 or not all(isinstance(length, int) for length in shape[1:]):
        shapes = ", ".join(str(tuple(getattr(node.meta.get("val"), "shape", ()))) for node in inputs)
        raise DfqError(
            f"'{file}' takes inputs of shape {shapes or 'nothing'}",
            "one input: images (N, channels, height, width), of a fixed size",
            EXPORT_AGAIN,
        )
    return (shape[0] if isinstance(shape[0], int) else 2), shape[1:]


def _check_mode(original: fx.GraphModule, file: Path) -> None:
    targets = [node.target for node in original.graph.nodes]
    if any(target in DECOMPOSED for target in targets):
        raise DfqError(f"'{file}' was saved after run_decompositions, which takes layers apart",
                       "the program as torch.export.export returns it", EXPORT_AGAIN)  # fmt: skip
    norms = [node for node in original.graph.nodes if node.target is torch.ops.aten.batch_norm.default]
    if any(arguments_of(node)["training"] for node in norms):
        raise DfqError(f"'{file}' was exported in training mode", "evaluation mode", EXPORT_AGAIN)


def _rewritten(original: fx.GraphModule) -> tuple[dict[str, Any], fx.Graph]:
    """(what the graph calls and reads, by name; the graph)."""
    graph, copies = fx.Graph(), dict[fx.Node, Any]()
    owned: dict[str, Any] = {}
    for node in original.graph.nodes:
        if node.op == "output":
            graph.output(_only(fx.map_arg(node.args[0], copies.__getitem__)))
        elif _is_check(node):
            continue
        elif node.target in IDENTITIES:
            copies[node] = copies[node.args[0]]
        else:
            copies[node] = _copied(node, graph, copies, original, owned)
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    used = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    return {name: value for name, value in owned.items() if name in used}, graph


def _only(outputs: Any) -> Any:
    """A single output out of its tuple."""
    return outputs[0] if isinstance(outputs, (tuple, list)) and len(outputs) == 1 else outputs


def _is_check(node: fx.Node) -> bool:
    name = str(node.target)
    return node.op == "call_function" and ("_assert" in name or "sym_constrain" in name)


def _copied(
    node: fx.Node, graph: fx.Graph, copies: dict[fx.Node, Any], original: fx.GraphModule, owned: dict[str, Any]
) -> fx.Node:
    if node.op == "get_attr":
        owned[str(node.target)] = _tensor(node, original)
    if node.target in LAYERS:
        name = _add_layer(node, original, owned)
        if name is not None:
            return graph.call_module(name, (copies[node.all_input_nodes[0]],))
    make = FUNCTIONS.get(node.target)
    call = make(fx.map_arg(arguments_of(node), copies.__getitem__)) if make is not None else None
    if call is None:
        copied = graph.node_copy(node, copies.__getitem__)
        copied.meta = {}  # tensors without data, which cannot be copied further
        return copied
    function, args, kwargs = call
    if function is torch.Tensor.size:
        return graph.call_method("size", args)
    return graph.call_function(function, args, kwargs)


def _tensor(node: Any, original: fx.GraphModule) -> Any:
    value: Any = original
    for part in str(node.target).split("."):
        value = getattr(value, part)
    return value


def _add_layer(node: fx.Node, original: fx.GraphModule, owned: dict[str, Any]) -> str | None:
    """Puts the layer of a call into `owned`; returns its name. None: its weights are computed, not stored."""
    required, make = LAYERS[node.target]
    arguments = arguments_of(node)
    tensors = {n: a for n, a in arguments.items() if isinstance(a, fx.Node) and n not in ("input", "self")}
    if any(t.op != "get_attr" for t in tensors.values()) or any(name not in tensors for name in required):
        return None
    values = {name: _tensor(tensor, original) for name, tensor in tensors.items()}
    layer = make({**arguments, **values, "rank": len(arguments["input"].meta["val"].shape)})
    module, _, attribute = str(tensors[required[0]].target).rpartition(".")
    plain = module if attribute in ("weight", "running_mean") else f"{module}.{attribute}_layer"
    name, count = plain or node.name, 1
    while name in owned and repr(owned[name]) != repr(layer):  # one weight, called with two strides
        count += 1
        name = f"{plain}_{count}"
    owned.setdefault(name, layer)
    return name


@torch.no_grad()
def _check_same(network: nn.Module, original: Any, images: Tensor, file: Path) -> None:
    expected = _only(original(images))
    found = network(images)
    if not isinstance(expected, Tensor) or expected.dim() != 2:
        raise DfqError(f"'{file}' does not return one tensor of logits (N, classes)", "an image classifier",
                       "wrap the network so that it returns its logits, and export it again")  # fmt: skip
    room = TOLERANCE * max(float(expected.abs().max()), 1.0)
    if float((found - expected).abs().max()) > room:
        raise DfqError(f"'{file}' computes something else with its layers put back", "the same logits",
                       "save the weights and pass the architecture: --arch path/to/net.py:factory",
                       exit_code=1)  # fmt: skip
    try:
        repeated = images[:1].expand(OTHER_BATCH, -1, -1, -1)
        same = bool((network(repeated) - found[:1]).abs().max() <= room)
    except RuntimeError:
        same = False
    if not same:
        raise DfqError(f"'{file}' takes exactly {len(images)} images at a time", "any number of images", EXPORT_AGAIN)
