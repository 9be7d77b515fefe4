"""The command line, with a file for each command; `main` is the entry point of `dfq` and `python -m dfq`."""

from dfq.cli.main import main

__all__ = ["main"]
