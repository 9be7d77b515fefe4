"""The fenced blocks of the documentation: which there are, and how they are run as a reader would run them."""

import contextlib
import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from click import ClickException, Context
from click.exceptions import Exit
from support.command_line import find_command, run

from dfq.cli import main
from dfq.errors import DfqError

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = "# not run in the tests"
NOT_RUN_COMMENT = "<!-- not run in the tests -->"  # where a page is read as it is, as README.md is
FENCE = re.compile(r"^( *)```(bash|python)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
PRINTED = re.compile(r"\s*^ *```text\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
HERE_DOCUMENT = re.compile(r"<<\s*['\"]?(\w+)")
SHELL = re.compile(r"[|><&;$`]")  # what click does not understand
ANYTHING = "…"  # within the text that a block prints


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        line: of its first line of code, from 1.
        printed: what stands in a block of text right behind it; None: there is none.
        is_hidden: a comment of HTML in front of it says that it is not run.
    """

    language: str
    code: str
    line: int
    printed: str | None = None
    is_hidden: bool = False

    @property
    def is_run(self) -> bool:
        return not (self.is_hidden or self.code.startswith(NOT_RUN))

    def commands(self) -> Iterator[str]:
        """The commands of a shell, without comments: a line each, which a backslash or a here-document continues."""
        lines = iter(re.sub(r"\\\n\s*", "", self.code).splitlines())
        for line in lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            whole = [line.strip()]
            if document := HERE_DOCUMENT.search(line):
                whole += itertools.takewhile(lambda more: more.strip() != document.group(1), lines)
                whole.append(document.group(1))
            yield "\n".join(whole)


def pages(within: str = "", without: Sequence[str] = ()) -> list[Path]:
    """The pages that are written by hand: README.md and those in docs/, or in one of its folders."""
    found = sorted((ROOT / "docs" / within).rglob("*.md"))
    left_out = [ROOT / "docs" / name for name in without]
    chosen = [path for path in found if not any(path.is_relative_to(folder) for folder in left_out)]
    return chosen if within else [ROOT / "README.md", *chosen]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(text: str) -> Iterator[Block]:
    """The blocks of bash and Python, from top to bottom; those within lists and tabs are indented."""
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start(3)) + 1
        after = PRINTED.match(text, found.end())
        printed = textwrap.dedent(after.group(1)) if after else None
        is_hidden = text[: found.start()].rstrip().endswith(NOT_RUN_COMMENT)
        yield Block(found.group(2), textwrap.dedent(found.group(3)), line, printed, is_hidden)


def is_dfq(command: str) -> bool:
    return command == "dfq" or command.startswith("dfq ")


def words_of(command: str) -> list[str]:
    """The arguments of a command, up to the first operator of the shell."""
    words = shlex.split(command, comments=True)
    ends = [index for index, word in enumerate(words) if SHELL.match(word)]
    return words[: ends[0] if ends else None]


def check_command(command: str) -> None:
    """Raises AssertionError where `dfq` has no such command, or the command no such options.

    Values are not checked: a page may name a method that its reader is about to add.
    """
    _, *words = words_of(command)
    if not words or words[0].startswith("-"):
        with contextlib.suppress(Exit), contextlib.redirect_stdout(io.StringIO()):
            main.make_context("dfq", words or ["--help"])
        return
    assert words[0] in main.list_commands(Context(main)), f"no command {words[0]}: {command}"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            find_command(words[0]).make_context(words[0], words[1:], parent=Context(main))
    except ClickException as error:
        raise AssertionError(f"{command}: {error.format_message()}") from error
    except DfqError:  # of a value; click has found the options by then
        pass
    except Exit as ended:  # --help
        assert ended.exit_code == 0, command


def run_command(command: str) -> None:
    """`dfq` in this process, everything else in a shell of its own, which remembers nothing of the line before."""
    if is_dfq(command) and not SHELL.search(command.partition(" #")[0]):
        result = run(*words_of(command)[1:])
        assert result.exit_code == 0, f"{command}\n{result.output}"
        return
    assert not re.match(r"(cd|export) ", command), f"`{command}` would be forgotten: {NOT_RUN}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # so that the shell finds this `dfq`
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"


def run_python(block: Block, namespace: dict, page: str) -> None:
    """In the namespace of the blocks before; where the page shows what is printed, that must be what is printed."""
    code = compile("\n" * (block.line - 1) + block.code, page, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, namespace)
    if block.printed is not None:
        wanted = ".*?".join(map(re.escape, block.printed.strip().split(ANYTHING)))
        assert re.fullmatch(wanted, printed.getvalue().strip(), re.DOTALL), (
            f"{page}:{block.line} prints\n{printed.getvalue()}"
        )


def run_page(page: Path) -> None:
    """All blocks of a page, in the working folder; those that are not to be run are parsed."""
    namespace: dict = {"__name__": "__main__"}
    for block in blocks_of(page.read_text()):
        if block.language == "python":
            if block.is_run:
                run_python(block, namespace, page.name)
            continue
        for command in block.commands():
            try:
                if is_dfq(command):
                    check_command(command)
                if block.is_run:
                    run_command(command)
            except AssertionError as error:
                raise AssertionError(f"{page.name}:{block.line}: {error}") from error
