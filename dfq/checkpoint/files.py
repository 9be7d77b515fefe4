"""Reads a checkpoint file into plain values, without running code from it.

Every file goes through torch's `weights_only` reader or safetensors; only `allow_pickle=True` unpickles.
"""

import argparse
import json
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import safetensors
import torch
from safetensors.torch import load_file

from dfq.checkpoint.foreign import foreign_format
from dfq.errors import DfqError
from dfq.models.exported_archive import is_exported
from dfq.models.exported_program import read_exported
from dfq.models.onnx_file.read import ASSUMED, CHANNELS_LAST, read_onnx
from dfq.models.onnx_file.read import SUFFIX as ONNX_SUFFIX
from dfq.models.registry import full_names, is_known
from dfq.system.declared_sizes import check_zip
from dfq.system.torch_file import check_torch_file

CHECKPOINT = (
    "a torch.save file (a state dict, or a dict with 'arch' and 'state_dict'), a .safetensors file, one of "
    "torch.export (.pt2), or an ONNX file"
)
SAVE_STATE_DICT = "torch.save(model.state_dict(), 'weights.pt'), then pass it with --arch"
SAVE_AGAIN = "copy or download the file again, or save it again: " + SAVE_STATE_DICT

FROM_ONNX = "from_onnx"  # key of the metadata: the file is an ONNX file
PICKLE_MARK = b"\x80"
# The number in files of torch.save from before its zip format (2020).
TORCH_LEGACY_MARK = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
HEAD_BYTES = 64  # number of bytes at the beginning of a file in which its format is recognised
numpy_scalar = numpy.float64(0).__reduce__()[0]  # the constructor of pickled NumPy numbers
# Training scripts put these harmless values beside the weights: timm's and torchvision's `args`, NumPy scores.
PLAIN_VALUES: list[Any] = [
    argparse.Namespace,
    numpy.dtype,
    (numpy_scalar, "numpy.core.multiarray.scalar"),  # the name before NumPy 2; the next one is the name since then
    (numpy_scalar, "numpy._core.multiarray.scalar"),
    *(type(numpy.dtype(kind)) for kind in ("bool", "int32", "int64", "float16", "float32", "float64")),
]
# This matches the errors with which `weights_only` refuses code, in contrast to damage.
REFUSED_CODE = re.compile(r"GLOBAL (\S+)|Can only (?:create new object|build Tensor)")


def read_file(
    path: Path,
    *,
    allow_pickle: bool = False,
    allow_float_ops: bool = False,
    input_size: Sequence[int] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Returns the object that `path` holds, on the CPU, and the metadata that its container keeps beside it.

    A .pt2 file and an ONNX file give a `CapturedNetwork`.

    Args:
        path: Any file. Its format is recognised by the content, that of `.safetensors` and `.onnx` by the name.
        allow_pickle: Whether to unpickle what `weights_only` refuses. This runs code from the file.
        allow_float_ops: Whether to take operators of an ONNX file that always stay in floating point.
        input_size: Size (C, H, W) of the images, for an ONNX file that leaves it open.

    Raises:
        DfqError: The file is missing, empty, truncated, foreign, or refused.
    """
    head = _head(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ONNX_SUFFIX:
        network = read_onnx(path, input_size, allow_float_ops=allow_float_ops)
        return network, {FROM_ONNX: True, **{name: network.meta[name] for name in (CHANNELS_LAST, ASSUMED)}}
    if head.startswith(b"PK"):
        return _read_zip(path, allow_pickle), {}
    if head.startswith(PICKLE_MARK):
        is_torch_file = TORCH_LEGACY_MARK in head
        return (_read_torch if is_torch_file else _read_raw_pickle)(path, allow_pickle), {}
    raise DfqError(f"'{path}' is {foreign_format(head)}", CHECKPOINT, SAVE_STATE_DICT)


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # A pipe would block for ever.
            raise DfqError(f"'{path}' is no file, but a folder, a pipe or a device", CHECKPOINT, "name a file on disk")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError as error:
        raise DfqError(f"no file '{path}'", CHECKPOINT, _path_or_name(path)) from error
    except (OSError, ValueError) as error:
        raise DfqError(f"'{path}' cannot be read: {error}", "a readable file", "check path and permissions") from error
    if not head:
        raise DfqError(f"'{path}' is empty (0 bytes)", CHECKPOINT, SAVE_AGAIN)
    return head


def _path_or_name(path: Path) -> str:
    names = full_names(str(path)) if is_known(str(path)) else []
    published = [name for name in names if not name.startswith("dfq/")]
    return f"check the path; or, for published weights, {' or '.join(published)}" if published else "check the path"


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = dict(file.metadata() or {})
        tensors = load_file(path, device="cpu")
    except Exception as error:  # the Rust reader has its own error class, and reports disk errors differently
        raise DfqError(
            f"'{path}' is truncated or not a safetensors file: {error}",
            "a whole .safetensors file",
            SAVE_AGAIN,
        ) from error
    return tensors, {name: _from_json(text) for name, text in metadata.items()}


def _from_json(text: str) -> Any:
    """Parses a text of safetensors, which keeps text only: `input_spec` is a JSON object, `arch` is plain text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _read_zip(path: Path, allow_pickle: bool) -> Any:
    try:
        names = list(check_zip(path))
    except Exception as error:  # zipfile raises many kinds for damaged files
        raise _damaged(path, error) from error
    if is_exported(names):
        return read_exported(path)
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise DfqError(
            f"'{path}' is a TorchScript file",
            "weights and the architecture's Python code: dfq quantizes the layers of an nn.Module",
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pt'), then pass it with --arch",
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise DfqError(f"'{path}' is a zip archive, not a checkpoint", CHECKPOINT, SAVE_STATE_DICT)
    return _read_torch(path, allow_pickle)


def _read_torch(path: Path, allow_pickle: bool) -> Any:
    """Reads a file of torch.save, in its zip format or the older one."""
    try:
        if not allow_pickle:
            check_torch_file(path)
        with torch.serialization.safe_globals(PLAIN_VALUES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not allow_pickle:
            raise _refused(path, error) from error
    except Exception as error:  # torch raises many kinds for damaged files: RuntimeError, EOFError, KeyError, …
        raise _damaged(path, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise _unpickling_failed(path, error) from error


def _read_raw_pickle(path: Path, allow_pickle: bool) -> Any:
    if not allow_pickle:
        raise _refused(path, None)
    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except Exception as error:
        raise _unpickling_failed(path, error) from error


def _refused(path: Path, error: Exception | None) -> DfqError:
    """Returns the error for a file at which `weights_only` stopped: it holds a class or a function, or is damaged."""
    match = REFUSED_CODE.search(str(error)) if error else None
    if error and not match:
        return _damaged(path, error)
    name = f" ({match[1]})" if match and match[1] else ""
    return DfqError(
        f"'{path}' is a pickle that holds Python objects{name}: loading it would run code from the file",
        "a checkpoint with tensors and plain values only",
        SAVE_STATE_DICT + "; or, only if you trust whoever made the file, --allow-pickle, which runs its code",
    )


def _damaged(path: Path, error: Exception) -> DfqError:
    return DfqError(f"'{path}' is truncated or damaged: {_brief(error)}", CHECKPOINT, SAVE_AGAIN)


def _unpickling_failed(path: Path, error: Exception) -> DfqError:
    return DfqError(
        f"'{path}' does not unpickle: {type(error).__name__}: {_brief(error)}",
        "a whole pickle, and the modules that its classes come from",
        SAVE_STATE_DICT,
    )


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
