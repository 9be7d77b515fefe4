"""Reads the networks of torchvision, timm and dfq from their source text: nothing is imported or built."""

import functools
import importlib.util
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dfq.models.registry import OWN

LIBRARIES = ("torchvision", "timm")
# This matches a function that makes a network, and its body: the lines after its name that are indented or empty.
MAKER = re.compile(r"^@register_model.*\n(?:@.*\n|  .*\n|\).*\n)*def (\w+)\(.*\n((?:(?:[ )].*)?\n)*)", re.MULTILINE)
ATTRIBUTE = re.compile(r"self\.([A-Za-z_]\w*)|['\"]([A-Za-z_]\w*)[{'\"]")  # as in self.conv1, "conv1" or f"conv{index}"
DEFINED = re.compile(r"^(?:class|def) (\w+)", re.MULTILINE)
WORD = re.compile(r"\w+")
DIGITS = re.compile(r"\d+")
NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")
SEQUENCE = re.compile(r"[(\[]\s*(\d+(?:\s*,\s*\d+){2,})\s*,?\s*[)\]]")  # widths or depths: three or more numbers
TEXT = re.compile(r'"""(?:.|\n)*?"""|\'[^\'\n]*\'|#.*')
SISTERS = re.compile(r"^from \.(\w+) import", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A network as its library defines it.

    Attributes:
        name: Full name, such as `timm/resnet18`.
        file: File that defines it, such as `timm/resnet`.
        numbers: Whole numbers above 1 in the function that makes it.
        sequences: Sequences of three or more numbers in that function.
    """

    name: str
    file: str
    numbers: frozenset[int]
    sequences: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Attributes:
    """Names that a file's modules may have, without digits.

    Attributes:
        own: Names in the file itself.
        all: Names in the file and in the layers that it uses.
    """

    own: frozenset[str]
    all: frozenset[str]


@functools.cache
def networks() -> tuple[tuple[Source, ...], dict[str, Attributes]]:
    """Returns every network of dfq and of the installed libraries, and the attributes of each file that makes one."""
    sources = [_source(f"dfq/{name}", _own_file(name), inspect.getsource(maker)) for name, (maker, _) in OWN.items()]
    attributes = {_own_file(name): _of_text([inspect.getsource(inspect.getmodule(OWN[name][0]))]) for name in OWN}  # type: ignore[arg-type]
    for library in LIBRARIES:
        texts, layers = _texts(library, "models"), _texts(library, "layers")
        for stem, text in texts.items():
            makers = MAKER.findall(text)
            if makers:
                file = f"{library}/{stem}"
                sources += [_source(f"{library}/{name}", file, body) for name, body in makers]
                attributes[file] = _of_text(_with_sisters(stem, texts), _used(text, layers))
    return tuple(sources), attributes


def letters(word: str) -> str:
    """Returns a word without its digits, which loops add to the names of modules: `layer` for `layer12`."""
    return DIGITS.sub("", word)


def _own_file(name: str) -> str:
    return "dfq/" + OWN[name][0].__module__.rpartition(".")[2]


def _texts(library: str, folder: str) -> dict[str, str]:
    """Returns the text of each Python file of `library.folder`; there are none where the library is not installed."""
    found = importlib.util.find_spec(library)
    places = found.submodule_search_locations if found is not None else None
    paths = [path for place in places or () for path in sorted(Path(place, folder).glob("*.py"))]
    return {path.stem: path.read_text(encoding="utf-8") for path in paths if path.stem != "__init__"}


def _source(name: str, file: str, body: str) -> Source:
    plain = TEXT.sub("", body)
    sequences = tuple(tuple(int(number) for number in each.split(",")) for each in SEQUENCE.findall(plain))
    return Source(name, file, frozenset(int(each) for each in NUMBER.findall(plain)) - {0, 1}, sequences)


def _with_sisters(stem: str, texts: dict[str, str]) -> list[str]:
    """Returns a file's text, and the texts of the files beside it that it imports from and that define layers."""
    sisters = [each for each in SISTERS.findall(texts[stem]) if each in texts]
    return [texts[stem], *(texts[each] for each in sisters if not each.startswith("_") or "efficientnet" in each)]


def _used(text: str, layers: dict[str, str]) -> list[str]:
    """Returns the texts of the files of layers that define a word of `text`, and of those that these import from."""
    defining = _defining(tuple(layers.values()))
    indices = {defining[word] for word in set(WORD.findall(text)) if word in defining}
    direct = [tuple(layers.values())[index] for index in indices]
    return direct + [layers[each] for used in direct for each in SISTERS.findall(used) if each in layers]


@functools.cache
def _defining(texts: tuple[str, ...]) -> dict[str, int]:
    return {name: index for index, text in enumerate(texts) for name in DEFINED.findall(text)}


@functools.cache
def _attributes(text: str) -> frozenset[str]:
    return frozenset(letters(first or second) for first, second in ATTRIBUTE.findall(text))


def _of_text(texts: Iterable[str], layers: Iterable[str] = ()) -> Attributes:
    own = frozenset[str]().union(*map(_attributes, texts))
    return Attributes(own, own.union(*map(_attributes, layers)))
