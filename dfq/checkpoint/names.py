"""Names in a file → names in a network: which parts of a file's names are wrappers', found by what fits.

A name is a path in a tree of modules. DataParallel, torch.compile, Lightning and people's own classes put a module
around the network or around a part of it, and so a level into the tree. A level is a wrapper's exactly where the
network's own tree fits below it and does not fit above: names alone decide nothing, so a network whose only child is
called `module` keeps its names.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

OPTIONAL = "num_batches_tracked"  # BatchNorm's counter, which older files and other programs leave out
DEEPEST = 6  # levels that wrappers put above a network, at most


@dataclass
class Tree:
    """A module or a tensor: its full name, and what is in it by the last part of the name."""

    name: str = ""
    parts: "dict[str, Tree]" = field(default_factory=dict)
    is_tensor: bool = False

    @classmethod
    def of(cls, names: Iterable[str]) -> "Tree":
        root = cls()
        for name in names:
            node = root
            for part in name.split("."):
                node = node.parts.setdefault(part, cls(f"{node.name}.{part}" if node.name else part))
            node.is_tensor = True
        return root


Fit = dict[str, str]  # the network's name of every module and tensor → the file's


def fits(own: Tree, file: Tree) -> list[tuple[str, Fit]]:
    """Every place in the file where the whole network is: (prefix without the dot, names); ("", …) alone if it fits.

    Of two places of which one is inside the other, only the outer is given.
    """
    matcher = _Matcher()
    level = [file]
    found: list[tuple[str, Fit]] = []
    for _ in range(DEEPEST + 1):
        inner: list[Tree] = []
        for node in level:
            fit = matcher.whole(own, node)
            if fit is not None:
                found.append((node.name, fit))
            else:
                inner += node.parts.values()
        if found and found[0][0] == "":
            break
        level = inner
    return found


class _Matcher:
    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Fit | None] = {}

    def whole(self, own: Tree, file: Tree) -> Fit | None:
        """Names of all that `own` holds, where each of its parts is in `file` under the same name."""
        if own.is_tensor and not file.is_tensor:
            return None
        fit = {own.name: file.name}
        for part, child in own.parts.items():
            if part not in file.parts:
                if part == OPTIONAL:
                    continue
                return None
            below = self.somewhere(child, file.parts[part])
            if below is None:
                return None
            fit |= below
        return fit

    def somewhere(self, own: Tree, file: Tree) -> Fit | None:
        """The same, or the names under a wrapper inside `file`."""
        key = (id(own), id(file))
        if key not in self._known:
            self._known[key] = self.whole(own, file)
            if self._known[key] is None and not own.is_tensor:
                inside = (self.somewhere(own, child) for child in file.parts.values())
                self._known[key] = next((fit for fit in inside if fit is not None), None)
        return self._known[key]


def wrappers(fit: Fit) -> list[tuple[str, str]]:
    """The levels inside the network that the file alone has: (the network's module, what stands inside it)."""
    found = []
    for own, file in fit.items():
        parent, _, last = own.rpartition(".")
        expected = f"{fit[parent]}.{last}" if fit[parent] else last
        if own and file != expected:
            found.append((own, file.removeprefix(f"{expected}.")))
    return found


def closest(own: Mapping[str, object], names: Iterable[str], parts: Iterable[str]) -> dict[str, str]:
    """Where nothing fits whole: file's name → the name without what leaves the most of the network's names.

    For an error that lists the few tensors that do not fit, and not all of them.
    """
    file = list(names)
    plain = {name: ".".join(part for part in name.split(".") if part not in parts) for name in file}
    candidates = [
        {name: changed.removeprefix(prefix) for name, changed in renamed.items()}
        for renamed in ({name: name for name in file}, plain)
        for prefix in ("", _likeliest_prefix(own, renamed.values()))
    ]
    return max(candidates, key=lambda renamed: len(set(own) & set(renamed.values())))


def _likeliest_prefix(own: Mapping[str, object], names: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for name in names:
        for prefix, rest in _splits(name):
            counts[prefix] = counts.get(prefix, 0) + (rest in own)
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def _splits(name: str) -> Iterator[tuple[str, str]]:
    parts = name.split(".")
    for index in range(min(len(parts), DEEPEST)):
        yield "".join(f"{part}." for part in parts[:index]), ".".join(parts[index:])
