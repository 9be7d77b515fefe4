"""Removes wrappers, modules around a network or a part of it that compute the same, and says which ones."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

INNER = "module"  # name under which most wrappers keep the network
COMPILED = "_orig_mod"  # name under which torch.compile keeps it
TIMM_AVERAGES = ("ModelEma", "ModelEmaV2", "ModelEmaV3")  # classes of timm.utils, which is optional


def plain_copy(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Does the same as `plain` for a network of the caller's, which is copied where it must be changed."""
    outer = model
    while (inner := _inside(outer)) is not None:
        outer = inner
    changes = any(_inside(module) is not None or _is_compiled(module) for module in outer.modules())
    if not changes and _dtypes(outer) <= {torch.float32}:
        return outer, _sentences({} if outer is model else {type(model).__name__: "the network"})
    return plain(copy.deepcopy(model))


def plain(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Returns the network without wrappers (`unwrapped`) and with float32 weights, and sentences on both.

    The network is changed in place.
    """
    model, said = unwrapped(model)
    others = sorted(str(kind).removeprefix("torch.") for kind in _dtypes(model) - {torch.float32})
    return model.float(), (*said, *(f"float32 in place of {kind}, which the network's weights have" for kind in others))


def unwrapped(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Returns the network inside DataParallel, weight averaging and torch.compile, and a sentence for each kind.

    Wrappers around parts of the network are replaced by these parts, in place. The type of a module decides whether it
    is a wrapper: a user's network whose only child is called `module` is not.
    """
    found: dict[str, str] = {}
    while (inner := _inside(model)) is not None:
        found[type(model).__name__] = "the network"
        model = inner
    for name, parent in list(model.named_modules()):
        for part, child in list(parent.named_children()):
            where = f"'{name}.{part}'" if name else f"'{part}'"
            while (inner := _inside(child)) is not None:
                found.setdefault(type(child).__name__, where)
                child = inner
                setattr(parent, part, child)
    for module in model.modules():
        if _is_compiled(module):
            found["torch.compile"] = "its modules"
            module._compiled_call_impl = None
    return model, _sentences(found)


def _sentences(found: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"the network without {kind}, which was around {where}" for kind, where in found.items())


def _inside(module: nn.Module) -> nn.Module | None:
    """Returns the module inside a wrapper, or None for every other module."""
    inner = getattr(module, COMPILED, None)
    if inner is None and (
        isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel)
        or (type(module).__module__.startswith("timm.utils") and type(module).__name__ in TIMM_AVERAGES)
    ):
        inner = getattr(module, INNER, None)
    return inner if isinstance(inner, nn.Module) and inner is not module else None


def _is_compiled(module: nn.Module) -> bool:
    """Returns whether a module was compiled in place, by `module.compile()`."""
    return getattr(module, "_compiled_call_impl", None) is not None


def _dtypes(model: nn.Module) -> set[torch.dtype]:
    return {tensor.dtype for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()}
