"""Normalizers of other classes with running statistics (frozen ones, users' own) as BatchNorm.

Their forward pass is arithmetic, x · factor + offset for each channel, on constants made of `running_mean` and
`running_var`. That is what BatchNorm computes, and the statistics are what images are made from.
"""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

EPS = 1e-5


def restore_batch_norms(graph: fx.Graph, owned: dict[str, Any], stored: Mapping[str, Tensor]) -> None:
    """Replaces each such pair of operators by a call of an `nn.BatchNorm2d` under the name of its module, in place.

    Args:
        owned: what the graph calls and reads, by name; layers are added.
        stored: parameters and buffers of the network by their names.
    """
    for product in list(graph.nodes):
        source, factor = _operands(product, owned) if product.target is operator.mul else (None, None)
        addition = next(iter(product.users)) if source is not None and len(product.users) == 1 else None
        if addition is None or addition.target is not operator.add:
            continue
        _, offset = _operands(addition, owned)
        if offset is None or factor is None:
            continue
        owner = _owner_of_statistics((*factor.meta["sources"], *offset.meta["sources"]))
        if owner is None or owner in owned:
            continue
        statistics = stored[f"{owner}.running_mean"], stored[f"{owner}.running_var"]
        norm = _batch_norm(owned[str(factor.target)], owned[str(offset.target)], *statistics)
        if norm is None:
            continue
        owned[owner] = norm
        with graph.inserting_before(product):
            call = graph.call_module(owner, (source,))
        call.meta = {"nn_module_stack": product.meta["nn_module_stack"]}
        addition.replace_all_uses_with(call)
        graph.erase_node(addition)
        graph.erase_node(product)


def _operands(node: fx.Node, owned: Mapping[str, Any]) -> tuple[Any, fx.Node | None]:
    """(the operand that depends on the images, the constant one); (None, None) where it is otherwise."""
    first, second = node.args[:2]
    for value, constant in ((first, second), (second, first)):
        if _is_constant(constant) and isinstance(value, fx.Node) and not _is_constant(value):
            return value, constant  # type: ignore[return-value]
    return None, None


def _is_constant(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr" and bool(node.meta.get("sources"))


def _owner_of_statistics(sources: tuple[str, ...]) -> str | None:
    owners = [source.rpartition(".")[0] for source in sources if source.endswith("running_var")]
    return owners[0] if owners and f"{owners[0]}.running_mean" in sources and owners[0] else None


def _batch_norm(factor: Tensor, offset: Tensor, mean: Tensor, variance: Tensor) -> nn.BatchNorm2d | None:
    """None where factor and offset are not one number for each channel of maps (N, C, H, W)."""
    channels = len(mean)
    if any(tensor.shape not in ((channels, 1, 1), (1, channels, 1, 1)) for tensor in (factor, offset)):
        return None
    norm = nn.BatchNorm2d(channels, eps=EPS, device=mean.device).eval()
    with torch.no_grad():
        weight = factor.flatten().double()
        norm.weight.copy_(weight * (variance.double() + EPS).sqrt())
        norm.bias.copy_(offset.flatten().double() + weight * mean.double())
        norm.running_mean, norm.running_var = mean.clone(), variance.clone()
    return norm
