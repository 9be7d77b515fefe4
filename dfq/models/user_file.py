"""Builds a user's own network with a function in the user's own file: `path/to/net.py:factory`."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from torch import nn

from dfq.errors import DfqError
from dfq.models.wrappers import plain

EXAMPLE = "for example --arch path/to/net.py:make_model, where make_model() returns the network"


def is_file_name(arch: str) -> bool:
    """Returns whether `arch` means a file: `net.py:factory`, or `net.py` where the factory was forgotten."""
    return arch.endswith(".py") or ".py:" in arch


def build_from_file(arch: str, num_classes: int | None = None) -> nn.Module:
    """Imports the file and calls the factory, with `num_classes` where it is given.

    The network is returned without wrappers around it and in float32.

    Raises:
        DfqError: The file or the factory is missing or fails, the factory does not take `num_classes`, or it returns
            something that is not an nn.Module.
    """
    return build_and_say(arch, num_classes)[0]


def build_and_say(arch: str, num_classes: int | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """Returns the network of `build_from_file`, and a sentence for each change to its wrappers and weights."""
    path, factory_name = _split(arch)
    with _folder_importable(path.parent):
        factory = _find(_import(path), path, factory_name)
        arguments = {} if num_classes is None else {"num_classes": num_classes}
        if arguments and not takes_num_classes(factory):
            raise DfqError(
                f"{factory_name}() in '{path}' takes no num_classes, but {num_classes} classes were asked for",
                "a factory with a num_classes argument",
                f"def {factory_name}(num_classes={num_classes}): …",
            )
        model = _call(factory, arguments, f"{factory_name}() in '{path}'")
    if not isinstance(model, nn.Module):
        raise DfqError(f"{factory_name}() in '{path}' returns {type(model).__name__}", "a torch.nn.Module", EXAMPLE)
    return plain(model)


def file_factory_takes_num_classes(arch: str) -> bool:
    path, factory_name = _split(arch)
    with _folder_importable(path.parent):
        return takes_num_classes(_find(_import(path), path, factory_name))


def takes_num_classes(factory: Callable[..., object]) -> bool:
    try:
        return "num_classes" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some callables that are written in C have no signature
        return False


def _split(arch: str) -> tuple[Path, str]:
    file_name, _, factory_name = arch.rpartition(":")
    if not file_name.endswith(".py") or not factory_name:
        raise DfqError(f"architecture '{arch}'", "a file and a factory: path/to/net.py:factory", EXAMPLE)
    path = Path(file_name)
    if not path.is_file():
        raise DfqError(f"no file '{path}'", "a Python file that builds the network", EXAMPLE)
    return path.resolve(), factory_name


@contextmanager
def _folder_importable(folder: Path) -> Iterator[None]:
    """Lets the file import its neighbours, as a script can."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))


def _import(path: Path) -> ModuleType:
    # A unique name keeps a user's `net.py` from hiding an installed module; pickling needs the entry.
    name = f"dfq_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise DfqError(
            f"'{path}' fails to import: {type(error).__name__}: {error}",
            "a Python file that imports without error",
            f"try: python {path}",
        ) from error
    return module


def _find(module: ModuleType, path: Path, factory_name: str) -> Callable[..., object]:
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        present = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        what = "is not a function" if hasattr(module, factory_name) else "does not exist"
        raise DfqError(
            f"'{factory_name}' {what} in '{path}'",
            "a function that returns the network",
            f"functions in that file: {', '.join(present) or 'none'}",
        )
    return factory


def _call(factory: Callable[..., object], arguments: dict[str, int], what: str) -> object:
    try:
        return factory(**arguments)
    except (Exception, SystemExit) as error:
        raise DfqError(
            f"{what} fails: {type(error).__name__}: {error}",
            "a factory that needs no arguments besides num_classes",
            EXAMPLE,
        ) from error
