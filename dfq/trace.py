"""From a module to an fx graph in canonical form: the graph that trains is the graph that is exported."""

import copy
import traceback

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from dfq.attention import spell_out_attention
from dfq.errors import DfqError
from dfq.fold import fold_batch_norms
from dfq.input_spec import InputSpec
from dfq.pooling import GlobalAveragePool

IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
IDENTITY_FUNCTIONS = (F.dropout, F.dropout2d, torch.dropout)


def trace(model: nn.Module, input_spec: InputSpec) -> fx.GraphModule:
    """A traced, BatchNorm-folded copy of `model` in evaluation mode; every node carries its output's shape.

    Canonical form: no dropout, no identity, global pooling as `GlobalAveragePool`, attention spelled out in linear
    layers, every BatchNorm folded into the layer before it or turned into a depthwise 1×1 convolution.

    Raises:
        DfqError: the model does not trace (the message names the line), or rejects images of `input_spec.size`.
    """
    copied = copy.deepcopy(model).eval()
    spell_out_attention(copied)
    graph_module = _symbolic_trace(copied)
    _drop_identities(graph_module)
    _name_global_pooling(graph_module)
    fold_batch_norms(graph_module)
    _propagate_shapes(graph_module, input_spec)
    return graph_module


def trace_in_place(model: nn.Module, input_spec: InputSpec) -> fx.GraphModule:
    """A traced graph that shares the layers of `model`: what trains through it is the model itself.

    Nothing is folded or dropped: BatchNorm and dropout layers follow training and evaluation mode. Where a forward
    pass asks for `self.training` itself, its answer of evaluation mode is in the graph for good. `model` is left in
    evaluation mode.

    Raises:
        DfqError: as `trace`.
    """
    graph_module = _symbolic_trace(model.eval())
    _propagate_shapes(graph_module, input_spec)
    return graph_module


def _symbolic_trace(model: nn.Module) -> fx.GraphModule:
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/torch/" not in f.filename]
        place = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else "an unknown line"
        raise DfqError(
            f"{type(model).__name__} does not trace: {error} ({place})",
            "a forward pass whose control flow does not depend on tensor values",
            "rewrite that line (for example a condition on a shape as a constant) and pass the network as "
            "--arch path/to/net.py:factory",
            exit_code=1,
        ) from error
    return fx.GraphModule(traced, traced.graph, type(model).__name__)


def _module_of(node: fx.Node, graph_module: fx.GraphModule) -> nn.Module | None:
    return graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _drop_identities(graph_module: fx.GraphModule) -> None:
    for node in list(graph_module.graph.nodes):
        is_function = node.op == "call_function" and node.target in IDENTITY_FUNCTIONS
        if is_function or isinstance(_module_of(node, graph_module), IDENTITIES):
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)


def _pools_globally(node: fx.Node, module: nn.Module | None) -> bool | None:
    """Whether `node` is a global average pooling, and then whether it keeps dimensions; None if it is not."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return True if module.output_size in (1, (1, 1)) else None
    if node.op == "call_function" and node.target is F.adaptive_avg_pool2d:
        return True if node.args[1] in (1, (1, 1), [1, 1]) else None
    is_mean = (node.op, node.target) == ("call_method", "mean") or node.target is torch.mean
    dims = tuple(node.args[1]) if is_mean and len(node.args) > 1 and isinstance(node.args[1], (list, tuple)) else None
    if dims in ((2, 3), (-2, -1)):
        return bool(node.kwargs.get("keepdim", False))
    return None


def _name_global_pooling(graph_module: fx.GraphModule) -> None:
    for node in list(graph_module.graph.nodes):
        keep_dims = _pools_globally(node, _module_of(node, graph_module))
        if keep_dims is None:
            continue
        name = f"global_pool_{node.name}"
        graph_module.add_submodule(name, GlobalAveragePool(keep_dims))
        with graph_module.graph.inserting_after(node):
            pooled = graph_module.graph.call_module(name, (node.args[0],))
        node.replace_all_uses_with(pooled)
        graph_module.graph.erase_node(node)


def _propagate_shapes(graph_module: fx.GraphModule, input_spec: InputSpec) -> None:
    graph_module.graph.lint()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    like = next(graph_module.parameters(), torch.zeros(()))
    images = torch.zeros(2, *input_spec.size, device=like.device)
    size = "x".join(map(str, input_spec.size))
    try:
        with torch.no_grad():
            ShapeProp(graph_module).propagate(images)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise DfqError(
            f"the network rejects images of {size}: {reason}",
            "the input size that the network was trained with",
            "pass it as --input-size, for example --input-size 3x224x224",
        ) from error
    output = next(n for n in graph_module.graph.nodes if n.op == "output")
    meta = getattr(output.args[0], "meta", {}).get("tensor_meta")
    if meta is None or len(meta.shape) != 2:
        shape = "no single tensor" if meta is None else tuple(meta.shape)
        raise DfqError(
            f"the network's output for 2 images is {shape}",
            "logits of shape (N, classes)",
            "dfq compresses image classifiers; wrap the network so that it returns its logits",
        )
