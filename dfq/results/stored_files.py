"""JSON and tensors on disk: they are written whole or not at all, and reading fails with one clear error."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dfq.errors import DfqError
from dfq.system.atomic_files import replacing


def write_json(path: Path, values: dict | list) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DfqError(f"no '{path}'", "a folder that `dfq quantize` wrote", "check the path") from error
    except (OSError, ValueError) as error:
        raise DfqError(f"'{path}' cannot be read: {error}", "the file as dfq wrote it", "repeat the run") from error


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise DfqError(f"no '{path}'", "a folder that `dfq quantize` wrote", "check the path") from error
    except (OSError, SafetensorError) as error:
        raise DfqError(f"'{path}' cannot be read: {error}", "the file as dfq wrote it", "repeat the run") from error
