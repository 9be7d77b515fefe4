"""Looks through a pickle of torch.save without calling anything in it, and refuses what would take memory or time.

torch's own reader (`weights_only`) runs no code, but calls some functions with whatever arguments the file has:
`bytearray(6_000_000_000)` takes 6 GB, and a storage that is declared larger than its bytes is read beyond their end.
"""

import pickle
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

PLAIN_TEXT = ("latin1", "latin-1", "ascii", "utf-8")  # Encodings that do not make a text many times longer.
SIZED = re.compile(r"builtins\.bytearray|torch\..*(Tensor|Storage)")  # Called with a number, they take as much memory.
REBUILT = re.compile(r"torch\._utils\._rebuild_(q?tensor|tensor_v[23])")
LONG_NUMBER = re.compile(r"\d{4}")  # in the name of a NumPy type: each of its elements takes that many bytes
ITEM_BYTES = {"Double": 8, "Long": 8, "ComplexFloat": 8, "ComplexDouble": 16, "Float": 4, "Int": 4, "QInt32": 4}
ITEM_BYTES |= {"Half": 2, "BFloat16": 2, "Short": 2}  # All other storages have one byte for each element.
# The instructions that torch reads; among the others is one that takes as much memory as the file says.
INSTRUCTIONS = (
    pickle.PROTO, pickle.STOP, pickle.GLOBAL, pickle.NEWOBJ, pickle.REDUCE, pickle.BUILD, pickle.APPEND, pickle.APPENDS,
    pickle.SETITEM, pickle.SETITEMS, pickle.MARK, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
    pickle.NONE, pickle.NEWFALSE, pickle.NEWTRUE, pickle.EMPTY_TUPLE, pickle.EMPTY_LIST, pickle.EMPTY_DICT,
    pickle.EMPTY_SET, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.BINFLOAT, pickle.BINUNICODE, pickle.LONG1,
    pickle.SHORT_BINSTRING, pickle.BINPERSID, pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT,
)  # fmt: skip
STORAGE_PARTS = 5  # of a persistent number: the word "storage", its type, key, device and number of elements


class Bytes(Protocol):
    """An open file, or what reads like one."""

    def read(self, count: int = -1, /) -> bytes: ...

    def readline(self) -> bytes: ...


class _StandIn:
    """What stands for each class and function of the pickle; it takes any arguments that cost nothing."""

    path = ""
    declared = 0  # bytes

    def __new__(cls, *args: Any, **keywords: Any) -> "_StandIn":
        made = object.__new__(cls)
        made.declared = _declared(cls.path, args)
        return made

    def __call__(self, *args: Any, **keywords: Any) -> "_StandIn":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def _declared(path: str, args: tuple) -> int:
    """Returns the bytes of a tensor that is built from these arguments; raises `ValueError` for hostile ones."""
    if SIZED.fullmatch(path) and any(isinstance(each, int) for each in args):
        raise ValueError(f"it calls {path} with a number, to take that much memory")
    if path == "_codecs.encode" and not (len(args) == 2 and isinstance(args[0], str) and args[1] in PLAIN_TEXT):
        raise ValueError("it encodes a text in an unusual way")
    if path.startswith("numpy") and any(isinstance(each, str) and LONG_NUMBER.search(each) for each in args):
        raise ValueError("it has numbers of an unusual size")
    if path in ("builtins.set", "collections.OrderedDict", "collections.Counter"):
        _check_keys(each[0] if isinstance(each, list | tuple) and each else each for part in args for each in part)
    if not REBUILT.fullmatch(path) or len(args) < 3 or not isinstance(args[2], tuple):
        return 0
    count = getattr(args[0], "item_bytes", 1)
    for length in args[2]:
        count *= length if isinstance(length, int) else 1
    return max(count, 0)


def _check_keys(keys: Iterable[Any]) -> None:
    """Raises `ValueError` for tuples inside of tuples: those that share parts take exponential time to be hashed."""
    for key in keys:
        if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
            raise ValueError("a key in it is a tuple of tuples")


class _Storage:
    def __init__(self, item_bytes: int):
        self.item_bytes = item_bytes


class _Scan(pickle._Unpickler):  # type: ignore[name-defined,misc]  # Unlike the one in C, it has no array to blow up.
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict] = {each[0]: pickle._Unpickler.dispatch[each[0]] for each in INSTRUCTIONS}  # type: ignore

    def __init__(self, content: Bytes, bytes_of: Callable[[str, int], None]):
        super().__init__(content)
        self.bytes_of, self.tensors = bytes_of, 0
        self.types: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> type:
        path = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if path not in self.types:
            self.types[path] = type("_Named", (_Counted,), {"path": path, "scan": self})
        return self.types[path]

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and pid and pid[0] == "module":  # A class and its source, in files before 2020.
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) < STORAGE_PARTS or not isinstance(pid[4], int):
            raise ValueError("a storage in it has no size")
        word = getattr(pid[1], "path", "").rpartition(".")[2].removesuffix("Storage")
        item_bytes = ITEM_BYTES.get(word, 1)
        self.bytes_of(str(pid[2]), pid[4] * item_bytes)
        return _Storage(item_bytes)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _check_keys(items[::2])
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][key] = value

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _check_keys([key])
        self.stack[-1][key] = value

    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SETITEM[0]] = load_setitem


class _Counted(_StandIn):
    scan: _Scan

    def __new__(cls, *args: Any, **keywords: Any) -> "_Counted":
        made = super().__new__(cls, *args, **keywords)
        cls.scan.tensors += made.declared
        return made  # type: ignore[return-value]


def scan_pickles(content: Bytes, count: int, bytes_of: Callable[[str, int], None]) -> int:
    """Looks through `count` pickles, one behind the other, and returns the bytes of all tensors that they build.

    Args:
        content: The pickles, and anything behind them.
        bytes_of: Is called with the key of each storage and its declared number of bytes; it may raise an error.

    Raises:
        ValueError: A call in it would take memory or time. `pickle` raises other errors for damage.
    """
    scan = _Scan(content, bytes_of)
    for _ in range(count):
        scan.load()
    return scan.tensors
