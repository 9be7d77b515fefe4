"""`Output`: what a command writes where, by `--json` and `--quiet`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from dfq.cli import console
from dfq.system.progress import Progress, Silent
from dfq.system.terminal_progress import TerminalProgress


@dataclass(frozen=True)
class Output:
    """Where a command writes its result, and where it reports what it does.

    Attributes:
        as_json: Whether standard output gets one JSON object and nothing else.
        is_quiet: Whether neither progress nor a result in words is shown.
    """

    as_json: bool
    is_quiet: bool

    @property
    def progress(self) -> Progress:
        """Where jobs report what they do."""
        return Silent() if self.is_quiet else TerminalProgress()

    def write(self, content: dict) -> None:
        """Writes the result as JSON, if the user wants it so. Each command calls this once."""
        if self.as_json:
            click.echo(json.dumps(content, indent=2))

    @contextmanager
    def words(self) -> Iterator[None]:
        """Shows what is printed to `console.stdout` within the context only if the user reads it as text."""
        before = console.stdout.quiet
        console.stdout.quiet = self.as_json or self.is_quiet
        try:
            yield
        finally:
            console.stdout.quiet = before
