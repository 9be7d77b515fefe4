"""Writes a network, its architecture's name and its input to a checkpoint file."""

import contextlib
import os
from pathlib import Path

import torch
from torch import nn

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec


def save_checkpoint(path: str | os.PathLike[str], model: nn.Module, arch: str, input_spec: InputSpec) -> Path:
    """Writes `{arch, state_dict, input_spec}`, which `load_checkpoint` reads without further options.

    The file is written completely or not at all.

    Raises:
        DfqError: The folder is missing or not writable, or the disk is full (exit code 1).
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    values = {"arch": arch, "state_dict": model.state_dict(), "input_spec": input_spec.to_dict()}
    try:
        torch.save(values, temporary)
        temporary.replace(target)
    except (OSError, RuntimeError) as error:  # torch reports a missing folder and a full disk as RuntimeError
        raise DfqError(
            f"'{target}' cannot be written: {error}",
            "a writable folder with free space",
            "choose another path",
            exit_code=1,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # the file exists only after a failure
    return target
