"""Turns texts of the command line into values; each error says what was found, what is needed, and the way out."""

import os
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dfq.errors import DfqError
from dfq.jobs.quantize.settings import MIXED
from dfq.system.output_paths import check_name

LIBRARIES = ("dfq/", "torchvision/", "timm/", "hf-hub:")
FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIDE = re.compile(r"[0-9]{1,6}")  # a number of pixels or channels: `str.isdigit` takes "²", and `int` 4000 digits
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}


class Named(click.ParamType):
    """A name of a table; the error lists all names and suggests the closest one."""

    name = "name"

    def __init__(self, option: str, names: Iterable[str], way_out: str):
        self.option, self.names, self.way_out = option, list(names), way_out

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.names:
            return value
        close = get_close_matches(value, self.names, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise DfqError(f"{self.option} {value!r}", f"one of {', '.join(self.names)}", f"{guess}{self.way_out}")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.names if name.startswith(incomplete)]


class Architecture(click.ParamType):
    """The name of an architecture, which is completed library by library and taken as it is."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if "/" not in incomplete:
            return [CompletionItem(prefix) for prefix in LIBRARIES if prefix.startswith(incomplete)]
        from dfq.models.registry import known_names  # The import loads timm and torchvision, which takes seconds.

        return [CompletionItem(name) for name in known_names() if name.startswith(incomplete)]


class Parsed(click.ParamType):
    """A text that `parse` turns into a value; `parse` raises `DfqError` where it cannot."""

    def __init__(self, name: str, parse: Callable[[str], Any]):
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.parse(value) if isinstance(value, str) else value


class OnDisk(click.Path):
    """A path whose name the file system takes; whether something is there is the command's business."""

    def __init__(self):
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        check_name(Path(value))
        return Path(os.fsdecode(super().convert(value, param, ctx)))


PATH = OnDisk()


class Listed(click.ParamType):
    """Values of another type with commas between them; "zeroq,zeroq-kd" becomes a tuple of two names."""

    def __init__(self, each: click.ParamType):
        self.each, self.name = each, f"list of {each.name}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(self.each.convert(part.strip() if isinstance(part, str) else part, param, ctx) for part in parts)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        done, _, last = incomplete.rpartition(",")
        before = f"{done}," if done else ""
        return [CompletionItem(before + item.value) for item in self.each.shell_complete(ctx, param, last)]


def parse_size(text: str) -> tuple[int, int, int]:
    """Returns channels, height and width of a text such as "3x32x32"."""
    parts = re.split("[x×,]", text.strip().lower())
    if len(parts) != 3 or not all(SIDE.fullmatch(part.strip()) and int(part) > 0 for part in parts):
        raise DfqError(
            f"--input-size {text!r}",
            "channels x height x width, whole numbers of up to 6 digits",
            "for example --input-size 3x32x32",
        )
    channels, height, width = map(int, parts)
    return channels, height, width


def parse_numbers(text: str) -> float | tuple[float, ...]:
    """Returns the numbers of a text such as "0.5,0.5,0.5"; a single number, for all channels, is no tuple."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise DfqError(
            f"{text!r}", "one number per channel, with commas, or one for all", "for example --mean 0.5,0.5,0.5"
        ) from error
    return numbers if len(numbers) > 1 else numbers[0]


def parse_bits(text: str) -> int | str:
    """Returns the number of a text such as "4"; "mixed" stays as it is."""
    word = text.strip().lower()
    if word == MIXED:
        return word
    try:
        return int(word)
    except ValueError as error:
        raise DfqError(f"--bits {text!r}", "a whole number from 2 to 8, or mixed", "for example --bits 4") from error


def parse_bytes(text: str) -> int:
    """Returns the bytes of a text such as "1.2MB"; the units B, kB, MB and GB are decimal."""
    match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{0,12})?)\s*([a-z]*)\s*", text.lower())
    if not match or match[2] not in UNITS or float(match[1]) == 0:
        raise DfqError(
            f"--target-size {text!r}", "a size in bytes, kB, MB or GB (decimal)", "for example --target-size 1.2MB"
        )
    return int(Fraction(match[1]) * UNITS[match[2]])


def parse_operations(text: str) -> int:
    """Returns the number of a text such as "1.2G", "350M" or "2.5e9"; the factors k, M, G and T are decimal."""
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{0,12})?(?:e\+?[0-9]{1,2})?)\s*([kmgt]?)\s*", text.lower())
    count = int(Fraction(match[1]) * FACTORS[match[2]]) if match else 0
    if count == 0:
        raise DfqError(
            f"--target-bops {text!r}",
            "a number of bit operations, with k, M, G or T (decimal) or as 2.5e9",
            "for example --target-bops 1.2G",
        )
    return count


def parse_layer_bits(text: str) -> tuple[str, int]:
    """Returns the name and the number of a text such as "conv1=4"."""
    name, equals, bits = text.rpartition("=")
    if not equals or not name or not SIDE.fullmatch(bits.strip()):
        raise DfqError(
            f"--layer-bits {text!r}", "NAME=BITS", "for example --layer-bits conv1=8; `dfq inspect` lists the names"
        )
    return name, int(bits)
