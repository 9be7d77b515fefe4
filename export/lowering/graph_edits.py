"""Small queries and changes of the graph that is exported."""

from torch import fx, nn


def module_of(node: object, graph_module: fx.GraphModule) -> nn.Module | None:
    """Returns the module that a node calls; None if it calls none."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return graph_module.get_submodule(str(node.target))
    return None


def first(node: fx.Node) -> fx.Node:
    """Returns the node whose output is the first input of `node`."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def bypass(node: fx.Node) -> None:
    """Removes a node; its readers then read its first input."""
    node.replace_all_uses_with(first(node))
    node.graph.erase_node(node)


def call_after(copied: fx.GraphModule, node: fx.Node, name: str, module: nn.Module) -> fx.Node:
    """Puts a call of `module` between a node and its readers; returns the call."""
    copied.add_submodule(name, module)
    users = list(node.users)
    with copied.graph.inserting_after(node):
        call = copied.graph.call_module(name, (node,))
    for user in users:
        user.replace_input_with(node, call)
    return call
