"""A command in several processes: which commands share their work, and who of the processes shows errors."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dfq.system.launch import was_started_with_others

ARGUMENTS = "dfq.arguments"  # the key of the context under which the group keeps what was typed behind `dfq`
SHARED = ("quantize", "distill", "increment", "synthesize")  # Of the other commands, the first process does all.


def join_the_run(command: str) -> bool:
    """Meets the other processes of the run, if there are any; returns whether this process has anything to do."""
    if not was_started_with_others():
        return True
    if command not in SHARED:
        return os.environ["RANK"] == "0"
    from dfq.system import processes  # It loads torch, which `dfq --help` does not need.

    processes.join()
    return True


@contextmanager
def sharing_the_run() -> Iterator[None]:
    """Parts from the other processes behind the block, if it succeeds."""
    try:
        yield
    except click.exceptions.Exit:
        _leave()
        raise
    _leave()


def shows_errors() -> bool:
    """Returns whether this process shows its error; in a run of several processes, the first one that fails does."""
    if not was_started_with_others():
        return True
    from dfq.system import processes

    return processes.is_first_to_fail()


def _leave() -> None:
    if was_started_with_others():
        from dfq.system import processes

        processes.leave()
