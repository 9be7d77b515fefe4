"""Lets torch forget the symbolic sizes of an exported program, which it would keep for the life of the process."""

from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
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


def _environments(program: ExportedProgram) -> list[ShapeEnv]:
    values = [node.meta.get("val") for node in program.graph.nodes]
    modes = {id(value.fake_mode): value.fake_mode for value in values if isinstance(value, FakeTensor)}
    return [mode.shape_env for mode in modes.values() if mode.shape_env is not None]
