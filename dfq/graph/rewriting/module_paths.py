"""Finds the module from which a node of an exported program comes, and the name of its layer."""

import re

from torch import fx, nn

from dfq.graph.rewriting.constants import Constant

Stack = dict[str, tuple[str, str]]  # maps keys to the path of a module and its class, outermost first
CALL_NUMBER = re.compile(r"@\d+")  # mark with which torch.export numbers repeated calls of a module
OF_GRAPH = fx.GraphModule(nn.Module(), fx.Graph())  # its attributes are names that no layer may take
WEIGHTS = ("weight", "running_mean", "weight_v", "weight_g", "weight_orig", "original0", "original1", "original")


def cleaned_stack(node: fx.Node) -> Stack:
    """Returns the modules around a node, without the marks of repeated calls."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = {CALL_NUMBER.sub("", path): str(kind) for path, kind in stack.values() if not path.startswith("_empty_nn")}
    return {path: (path, kind) for path, kind in paths.items()}


def innermost_path(node: fx.Node) -> str:
    """Returns the path of the module that calls the node, which is empty for the network itself."""
    return next(reversed(cleaned_stack(node)), "")


def layer_name(node: fx.Node, weight: Constant) -> str:
    """Names a layer after the module that owns its weight, with the attribute where that is not `weight`.

    A computed weight belongs to the module that calls it, and so does a weight from elsewhere in the network: where
    modules share a parameter, torch.export names only one of them.
    """
    owner, _, attribute = weight.sources[0].rpartition(".") if weight.sources else ("", "", "")
    path = innermost_path(node)
    is_inside = f"{owner}.".startswith(f"{path}.") if path else True
    if weight.name is None and (attribute in WEIGHTS or len(weight.sources) > 1 or not owner):
        return safe_name(path or node.name)
    if attribute in WEIGHTS:
        return safe_name((owner if is_inside else path) or node.name)
    short = attribute.removesuffix("_weight") or attribute
    return safe_name(f"{owner}.{short}" if owner else short)


def safe_name(name: str) -> str:
    """Returns a name that hides no attribute of `fx.GraphModule`."""
    first, dot, rest = name.partition(".")
    return f"{first}_{dot}{rest}" if hasattr(OF_GRAPH, first) else name
