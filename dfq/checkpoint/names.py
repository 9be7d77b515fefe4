"""Matches the names in a file to those in a network: parts that only wrappers add are found by what fits.

A name is a path in a tree of modules. DataParallel, torch.compile, Lightning and people's own classes put a module
around the network or around a part of it, and so a level into the tree. A level belongs to a wrapper exactly where the
network's own tree fits below it and does not fit above it. Names alone decide nothing, so a network whose only child
is called `module` keeps its names.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dfq.checkpoint.settings import NameSettings

OPTIONAL = "num_batches_tracked"  # BatchNorm's counter, which older files and other programs leave out


@dataclass
class Tree:
    """A module or a tensor.

    Attributes:
        name: Full name.
        parts: Modules and tensors inside it, by the last parts of their names.
        is_tensor: Whether it is a tensor.
    """

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


Fit = dict[str, str]  # maps the network's name of every module and tensor to the file's


def fits(own: Tree, file: Tree, *, settings: NameSettings = NameSettings()) -> list[tuple[str, Fit]]:
    """Returns every place in the file that holds the whole network, as its prefix without the dot and its names.

    If the network fits without a prefix, that is the only place. Of two places of which one is inside the other, only
    the outer one is returned.
    """
    matcher = _Matcher()
    level = [file]
    found: list[tuple[str, Fit]] = []
    for _ in range(settings.deepest_wrapper + 1):
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
        """Returns the names of everything in `own` if `file` has each of its parts under the same name, or None."""
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
        """Returns the same as `whole`, or the names under a wrapper inside `file` where that is None."""
        key = (id(own), id(file))
        if key not in self._known:
            self._known[key] = self.whole(own, file)
            if self._known[key] is None and not own.is_tensor:
                inside = (self.somewhere(own, child) for child in file.parts.values())
                self._known[key] = next((fit for fit in inside if fit is not None), None)
        return self._known[key]


def wrappers(fit: Fit) -> list[tuple[str, str]]:
    """Returns the levels inside the network that only the file has, as the network's module and the wrapper in it."""
    found = []
    for own, file in fit.items():
        parent, _, last = own.rpartition(".")
        expected = f"{fit[parent]}.{last}" if fit[parent] else last
        if own and file != expected:
            found.append((own, file.removeprefix(f"{expected}.")))
    return found


def closest(
    own: Mapping[str, object],
    names: Iterable[str],
    parts: Iterable[str],
    *,
    settings: NameSettings = NameSettings(),
) -> dict[str, str]:
    """Takes parts or a prefix off the file's names where that gives more of the network's names.

    It is used where the network does not fit as a whole, so that the error lists only the few tensors that do not fit.
    The result maps the file's names to the new ones.

    Args:
        own: State dict of the network.
        names: Names in the file.
        parts: Parts of names that may belong to wrappers.
        settings: Where the network is looked for.
    """
    file = list(names)
    plain = {name: ".".join(part for part in name.split(".") if part not in parts) for name in file}
    candidates = [
        {name: changed.removeprefix(prefix) for name, changed in renamed.items()}
        for renamed in ({name: name for name in file}, plain)
        for prefix in ("", _likeliest_prefix(own, renamed.values(), settings.deepest_wrapper))
    ]
    return max(candidates, key=lambda renamed: len(set(own) & set(renamed.values())))


def _likeliest_prefix(own: Mapping[str, object], names: Iterable[str], deepest: int) -> str:
    counts: dict[str, int] = {}
    for name in names:
        for prefix, rest in _splits(name, deepest):
            counts[prefix] = counts.get(prefix, 0) + (rest in own)
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def _splits(name: str, deepest: int) -> Iterator[tuple[str, str]]:
    parts = name.split(".")
    for index in range(min(len(parts), deepest)):
        yield "".join(f"{part}." for part in parts[:index]), ".".join(parts[index:])
