"""Replaces normalizers of other classes with running statistics (frozen ones, users' own) by BatchNorm.

Their forward pass is arithmetic on constants, some of which are made of `running_mean` and `running_var`:
x · factor + offset for each channel, or (x − mean) / deviation · weight + bias. BatchNorm computes the same, and
images are made from its statistics.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

EPS = 1e-5  # ε of the BatchNorm that is made, which is the default of nn.BatchNorm2d
OPERATORS = (operator.mul, operator.truediv, operator.add, operator.sub)


@dataclass(frozen=True)
class _Chain:
    """Operators of one module that together compute x · factor + offset for each channel, (C,) in float64."""

    source: fx.Node
    nodes: tuple[fx.Node, ...]
    sources: tuple[str, ...]
    factor: Tensor
    offset: Tensor

    def extended(self, node: fx.Node, constant: fx.Node, value: Tensor) -> "_Chain":
        factor, offset = self.factor, self.offset
        if node.target is operator.mul:
            factor, offset = factor * value, offset * value
        elif node.target is operator.truediv:
            factor, offset = factor / value, offset / value
        else:
            offset = offset + value if node.target is operator.add else offset - value
        return _Chain(self.source, (*self.nodes, node), (*self.sources, *constant.meta["sources"]), factor, offset)


def restore_batch_norms(graph: fx.Graph, owned: dict[str, Any], stored: Mapping[str, Tensor]) -> None:
    """Replaces each such chain of operators by a call of an `nn.BatchNorm2d` under the name of its module, in place.

    Args:
        graph: Graph of the captured network.
        owned: Layers and tensors that the graph calls and reads, by name; the new layers are added.
        stored: Parameters and buffers of the network by name.
    """
    for chain in _chains(graph, owned):
        owner = _owner_of_statistics(chain.sources)
        if owner is None or owner in owned:
            continue
        mean, variance = stored[f"{owner}.running_mean"], stored[f"{owner}.running_var"]
        if mean.shape != chain.factor.shape:
            continue
        owned[owner] = _batch_norm(chain, mean, variance)
        with graph.inserting_before(chain.nodes[0]):
            call = graph.call_module(owner, (chain.source,))
        call.meta = {"nn_module_stack": chain.nodes[0].meta["nn_module_stack"]}
        chain.nodes[-1].replace_all_uses_with(call)
        for node in reversed(chain.nodes):
            graph.erase_node(node)


def _chains(graph: fx.Graph, owned: Mapping[str, Any]) -> list[_Chain]:
    """Finds the longest chains of such operators."""
    chains: dict[fx.Node, _Chain] = {}
    for node in graph.nodes:
        source, constant = _operands(node) if node.target in OPERATORS else (None, None)
        value = None if constant is None else _by_channel(owned[str(constant.target)])
        if source is None or constant is None or value is None:
            continue
        before = chains.get(source)
        if before is not None and len(source.users) == 1 and _module(source) == _module(node):
            del chains[source]
        else:
            before = _Chain(source, (), (), torch.ones_like(value), torch.zeros_like(value))
        if before.factor.shape == value.shape:
            chains[node] = before.extended(node, constant, value)
    return list(chains.values())


def _module(node: fx.Node) -> str:
    return next(reversed(node.meta["nn_module_stack"]), "")


def _operands(node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """Returns the operand that depends on the images and the constant one, or two None where there is no such pair."""
    first, second = node.args[:2]
    orders = ((first, second), (second, first)) if node.target in (operator.mul, operator.add) else ((first, second),)
    for value, constant in orders:
        if _is_constant(constant) and isinstance(value, fx.Node) and not _is_constant(value):
            return value, constant  # type: ignore[return-value]
    return None, None


def _is_constant(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr" and bool(node.meta.get("sources"))


def _by_channel(constant: Tensor) -> Tensor | None:
    """Returns (C,) in float64, or None where the constant is not one number for each channel of maps (N, C, H, W)."""
    channels = constant.numel()
    is_column = constant.shape in ((channels, 1, 1), (1, channels, 1, 1)) and constant.is_floating_point()
    return constant.detach().flatten().double() if is_column else None


def _owner_of_statistics(sources: tuple[str, ...]) -> str | None:
    owners = [source.rpartition(".")[0] for source in sources if source.endswith("running_var")]
    return owners[0] if owners and f"{owners[0]}.running_mean" in sources and owners[0] else None


@torch.no_grad()
def _batch_norm(chain: _Chain, mean: Tensor, variance: Tensor) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(mean), eps=EPS, device=mean.device).eval()
    norm.weight.copy_(chain.factor * (variance.double() + EPS).sqrt())
    norm.bias.copy_(chain.offset + chain.factor * mean.double())
    norm.running_mean, norm.running_var = mean.clone(), variance.clone()
    return norm
