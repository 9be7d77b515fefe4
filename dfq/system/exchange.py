"""What the processes of a run exchange (`dfq.system.processes`); with one process, nothing is exchanged.

All processes must call these functions in the same order, unless they are within `alone`.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from dfq.errors import DfqError
from dfq.system.processes import alone, processes

Value = TypeVar("Value")


def share_of(size: int) -> slice:
    """Returns which of `size` rows, such as the images of a batch, this process works on.

    The sizes of two parts differ by one at most, and the part of the first process is never empty.
    """
    now = processes()
    return slice(-(-size * now.rank // now.count), -(-size * (now.rank + 1) // now.count))


def of_first(make: Callable[[], Value], device: torch.device | str = "cpu") -> Value:
    """Returns what `make` returns in the first process, which alone calls it, in all processes.

    Args:
        make: Makes tensors, plain values, and objects of these.
        device: Device of the tensors in the other processes.
    """
    now = processes()
    if now.count == 1:
        return make()
    made: Any = None
    if now.is_first:
        with alone():
            made = make()
    content = _sent(_packed(made) if now.is_first else b"", source=0)
    return made if now.is_first else _unpacked(content, device)


def number_of_first(number: float) -> float:
    """Returns the number that the first process has."""
    if processes().count == 1:
        return number
    sent = torch.tensor([number], dtype=torch.float64)
    copy_from([sent], source=0)
    return float(sent)


def gathered(value: Value, device: torch.device | str = "cpu") -> list[Value]:
    """Returns the value of every process, in their order; tensors of the others are on `device`."""
    now = processes()
    if now.count == 1:
        return [value]
    own, found = _packed(value), []
    for rank in range(now.count):
        content = _sent(own if rank == now.rank else b"", source=rank)
        found.append(value if rank == now.rank else _unpacked(content, device))
    return found


def copy_from(tensors: Sequence[Tensor], source: int) -> None:
    """Replaces tensors by those that the process of rank `source` has, in place."""
    if processes().count == 1:
        return
    with torch.no_grad(), _noticing_losses():
        for tensor in tensors:
            sent = tensor.detach().contiguous()
            distributed.broadcast(sent, source)
            tensor.copy_(sent)


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replaces floating-point tensors of one type and device by their sums over all processes, in place."""
    if processes().count == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    with torch.no_grad(), _noticing_losses():
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _packed(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _unpacked(content: bytes, device: torch.device | str) -> Any:
    # The bytes come from a process of the same run, which executes the same code.
    return torch.load(io.BytesIO(content), map_location=device, weights_only=False)


def _sent(content: bytes, source: int) -> bytes:
    """Returns the bytes of the process of rank `source`."""
    size = torch.tensor([len(content)])
    with _noticing_losses():
        distributed.broadcast(size, source)
        buffer = torch.empty(int(size), dtype=torch.uint8)
        if processes().rank == source:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        distributed.broadcast(buffer, source)
    return buffer.numpy().tobytes()


@contextmanager
def _noticing_losses() -> Iterator[None]:
    """Turns the errors of an exchange into one that says what has happened."""
    try:
        yield
    except RuntimeError as error:
        raise DfqError(
            "another process of this run has ended before its work was done",
            f"all {processes().count} processes until the end",
            "start the same command again with --resume, with as many processes as you like",
            exit_code=1,
        ) from error
