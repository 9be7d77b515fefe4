"""Starts a command in several processes of this machine, as `torchrun` does, without its banners."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import uuid4

from dfq.errors import DfqError

QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # what the processes are told besides what this one was
SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130  # The exit code that shells expect after Ctrl-C.


def was_started_with_others() -> bool:
    """Returns whether `torchrun`, or what sets the same variables, started this process along with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def run_in_processes(count: int, command: Sequence[str]) -> int:
    """Runs a command of Python in `count` processes, which meet in `dfq.system.processes.join`.

    Args:
        count: Number of processes.
        command: The arguments of Python, such as ("-m", "dfq", "quantize", "model.pt").

    Returns:
        The exit code: 0 if all have succeeded, else the largest one. A process that fails has said why.

    Raises:
        DfqError: A process was ended by a signal, and none could say so.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as logs, _quietly():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=0.1,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            return _code_of({rank: failure.exitcode for rank, failure in error.failures.items()}, count)
        except SignalException:
            return INTERRUPTED
    return 0


def _code_of(codes: Mapping[int, int], count: int) -> int:
    """Returns the exit code of the whole, from those of the processes that failed; a signal has a negative one."""
    if max(codes.values()) > 0:
        return max(codes.values())
    others = [rank for rank, code in codes.items() if code != -signal.SIGTERM]  # which ends the rest
    rank = (others or [*codes])[0]
    raise DfqError(
        f"process {rank} of {count} was ended by {signal.Signals(-codes[rank]).name}",
        "all processes until the end",
        "start the same command again with --resume; after SIGKILL, look whether the memory of the machine had run out",
        exit_code=1,
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Silences the launcher within the block, and restores what it changes in this process."""
    logger, handlers = (
        logging.getLogger("torch.distributed.elastic"),
        {each: signal.getsignal(each) for each in SIGNALS},
    )
    level, before = logger.level, {name: os.environ.get(name) for name in QUIET}
    logger.setLevel(logging.CRITICAL)
    os.environ.update(QUIET)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for each, handler in handlers.items():
            signal.signal(each, handler)
