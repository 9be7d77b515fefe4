"""Lets torch forget what it traced for an export, which it would keep for the life of the process."""

import contextlib
import linecache
from collections.abc import Iterator

from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.fx import graph_module
from torch.fx.experimental.symbolic_shapes import ShapeEnv


def forget_sizes(program: ExportedProgram) -> None:
    """Empties what holds the program's `ShapeEnv`: its traced tensors, and torch's caches of its methods.

    These hold each other through objects that Python's garbage collector does not see, so that each export would leave
    a `ShapeEnv` behind. Afterwards the program may be read, but not be traced again.
    """
    for environment in _environments(program):
        environment.tracked_fakes = []
        getattr(environment, "fake_tensor_cache", {}).clear()  # torch does not promise that it has one.
    for method in vars(ShapeEnv).values():
        for each in (method, getattr(method, "__wrapped__", None)):
            if clear := getattr(each, "cache_clear", None):
                clear()


@contextlib.contextmanager
def forgetting_sources() -> Iterator[None]:
    """Forgets the sources of the graph modules that come to be meanwhile; they are for modules that do not outlive it.

    `torch.fx` keeps the source of each module that it generates, for tracebacks, even when the module is gone.
    """
    sources = getattr(getattr(graph_module, "_loader", None), "eval_cache", {})  # torch does not promise this either.
    before = set(sources)
    try:
        yield
    finally:
        for name in sources.keys() - before:
            del sources[name]
            linecache.cache.pop(name, None)


def _environments(program: ExportedProgram) -> list[ShapeEnv]:
    values = [node.meta.get("val") for node in program.graph.nodes]
    modes = {id(value.fake_mode): value.fake_mode for value in values if isinstance(value, FakeTensor)}
    return [mode.shape_env for mode in modes.values() if mode.shape_env is not None]
