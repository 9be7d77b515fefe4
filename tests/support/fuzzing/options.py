"""Strategies for command lines: every option of every command, with odd texts."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from hypothesis import strategies as st
from support.command_line import find_command, run

from dfq.cli.main import COMMANDS
from dfq.errors import DfqError

WORK = {  # What each command does after it has read its options; none of it is done here.
    "quantize": "dfq.cli.quantize.quantize_model",
    "distill": "dfq.cli.distill.distill_model",
    "increment": "dfq.cli.increment.learn_classes",
    "compare": "dfq.cli.compare.compare_methods",
    "inspect": "dfq.cli.inspect.inspect_network",
    "synthesize": "dfq.cli.synthesize.make_images",
    "export": "dfq.cli.export.export_run",
    "validate": "dfq.cli.validate.validate_run",
    "demo": "dfq.cli.demo.run_demo",
}
NO_WORK = DfqError("options that can be used", "nothing", "none", exit_code=1)
WITHOUT_WORK = ("methods", "env")
NUMBERS = (
    "0",
    "1",
    "-1",
    "4",
    "²",
    "2.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1_000",
    "9" * 400,
    "9" * 5000,
    "9223372036854775808",
)
TEXTS = (
    "", " ", "\x1b[31m", "a" * 300, "a" * 5000, "x" * 253, "../..", "/dev/null", "/dev/zero", "/", "~", "*", "[/b]",
    "²x8x8", "1x8x8", "3x100000x100000", "1x4000x4000", "0x0x0", "1x8", "conv1=²", "conv1=4", "=4", "5m", "0s", "1e3h",
    "conv1=" + "9" * 5000, "1.2MB", "9" * 400 + "GB", "mixed", "0.5,0.5", "0,0,0", "1e-300", "1e300", "meta", "cuda:99",
    "cpu:7", "mps", "cpu", "zeroq,zeroq", ",", "dfq/resnet20", "net.py:f", "torchvision/", "timm/x", "\udcff", "pipe",
    "100000", "1000000000", "instant", "-", "--", "pickle/x", "\u202e",
)  # fmt: skip
SILENT = ("help", "version")


def command_lines(places: dict[str, Path]) -> st.SearchStrategy[list[str]]:
    """Returns command lines of which up to three options are odd.

    Args:
        places: Paths of things that are whole: "model", "run", "data".
    """
    return st.sampled_from([name for name in COMMANDS if name not in WITHOUT_WORK]).flatmap(
        lambda name: _lines(name, find_command(name), places)
    )


def _lines(name: str, command: click.Command, places: dict[str, Path]) -> st.SearchStrategy[list[str]]:
    odd = [_option(each) for each in command.params if isinstance(each, click.Option) and each.name not in SILENT]
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    whole = [str(places["run" if each.name == "run" else "model"]) for each in arguments]
    needed = {
        "increment": ["--data", str(places["data"]), "--out", "new.pt"],
        "export": ["--out", "new.onnx"],
        "distill": ["--student", "dfq/digits_cnn"],
        "compare": ["--methods", "instant"],
    }.get(name, [])
    texts = st.one_of(st.just(whole), st.just(whole), st.lists(st.sampled_from(TEXTS), max_size=2))
    options = st.lists(st.one_of(*odd), max_size=3).map(lambda each: [part for option in each for part in option])
    return st.tuples(texts, options).map(lambda pair: [name, *pair[0], *needed, *pair[1]])


def _option(option: click.Option) -> st.SearchStrategy[list[str]]:
    name = option.opts[0]
    if option.is_flag:
        return st.sampled_from([[each] for each in (*option.opts, *option.secondary_opts)])
    return st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.text(max_size=6)).map(
        lambda text: [name, text]
    )


def try_command(line: list[str]) -> Any:
    """Runs a command; fails where it does not end as a command must."""
    result = run(*line)
    shown = result.output[-2000:]
    assert result.exit_code in (0, 1, 2), (line, result.exit_code, shown)
    assert "This is a bug in dfq" not in result.output and "Traceback" not in result.output, (line, shown)
    assert "\x1b" not in result.output, (line, shown)
    clear = "found: " in result.output or "Usage: " in result.output
    assert result.exit_code == 0 or clear, (line, shown)
    return result


@contextmanager
def without_work() -> Iterator[None]:
    """Ends every command where its work would begin."""

    def begin(*arguments: object, **options: object) -> None:
        raise NO_WORK

    with ExitStack() as patches:
        for place in WORK.values():
            patches.enter_context(patch(place, begin))
        yield


def try_options(line: list[str]) -> None:
    """Runs a command up to its work; raises `DfqError` where it refused the options."""
    result = try_command(line)
    if result.exit_code and NO_WORK.found not in result.output:
        raise DfqError("odd options", "others", exit_code=result.exit_code)


def make_pipe(folder: Path) -> None:
    """Makes a pipe, which blocks whoever opens it for ever."""
    if not (folder / "pipe").exists():
        os.mkfifo(folder / "pipe")
