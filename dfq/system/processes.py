"""What a process knows of the others that share its run, as `torchrun` starts them; most runs have one process.

`join` reads what `torchrun` wrote into the environment. Until it is called there is one process, nothing of
`torch.distributed` is touched, and every function of `dfq.system.exchange` returns what it was given.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from dfq.errors import DfqError

PATIENCE = timedelta(days=30)  # A process may wait as long as another one works; one that died is noticed at once.
FAILURES = "dfq/failures"  # the name of the counter of processes that failed


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: Number of this process, from 0 on. The process of rank 0 writes the files and shows the progress.
        count: Number of processes, on all machines.
        local_rank: Number of this process among those of this machine, which is that of its GPU.
        local_count: Number of processes on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0


ONE = Processes()
_joined, _now, _store = ONE, ONE, None


def processes() -> Processes:
    """Returns the processes that work together now; within `alone`, that is this one."""
    return _now


def is_first() -> bool:
    """Returns whether this process writes the files and shows the progress; a process without others does."""
    return _joined.is_first


def run_size() -> int:
    """Returns the number of processes of the run, for its report."""
    return _joined.count


def join() -> None:
    """Meets the other processes of the run; each takes its part of the machine's cores.

    Tensors on the CPU are exchanged by gloo, and those on GPUs by nccl.

    Raises:
        DfqError: The others cannot be reached.
    """
    global _joined, _now, _store
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local_rank, local_count = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    on_gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        store, _, _ = next(distributed.rendezvous("env://"))
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpus else "gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DfqError(
            f"process {rank} of {count} cannot reach the others: {reason}",
            "processes that torchrun started together",
            "check --master-addr or --rdzv-endpoint of torchrun",
            exit_code=1,
        ) from error
    if on_gpus and local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
    _joined = _now = Processes(rank, count, local_rank, max(local_count, 1))
    _store = store
    set_threads(_cores())


def leave() -> None:
    """Parts from the others, once all have come here."""
    global _joined, _now, _store
    if _joined.count > 1:
        distributed.barrier()
        distributed.destroy_process_group()
        _joined, _now, _store = ONE, ONE, None


def set_threads(threads: int) -> None:
    """Sets the number of CPU threads of this machine's processes, each of which takes its part, but at least one."""
    torch.set_num_threads(max(threads // _joined.local_count, 1))


def own_device(name: str) -> str:
    """Returns the name of the device of this process, which among others is the GPU of its number.

    Raises:
        DfqError: One GPU was named for several processes.
    """
    if _joined.count == 1 or not name.startswith("cuda"):
        return name
    if name != "cuda":
        raise DfqError(
            f"--device {name} for {_joined.count} processes", "a GPU for each of them", "--device cuda without a number"
        )
    return f"cuda:{_joined.local_rank}"


def is_first_to_fail() -> bool:
    """Returns whether no other process of the run has failed before, so that an error is shown once; counts this one.

    A process without others always is. From now on, the signal by which the other processes are ended because of this
    failure does not keep this one from saying what has happened.
    """
    if _store is None:
        return True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        return _store.add(FAILURES, 1) == 1
    except RuntimeError:  # The process that keeps the counter is gone.
        return True


@contextmanager
def alone() -> Iterator[None]:
    """Lets this process work for itself within the block, as if there were no others."""
    global _now
    before, _now = _now, ONE
    try:
        yield
    finally:
        _now = before


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
