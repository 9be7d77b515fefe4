"""JSON and tensors on disk: they are written whole or not at all, and reading fails with one clear error."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from dfq.system.atomic_files import replacing
from dfq.system.reading import check_is_file, reading

NEEDED = "a folder that `dfq quantize` wrote"


def write_json(path: Path, values: dict | list) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    check_is_file(path, NEEDED, "check the path")
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__} instead of an object")
    return found


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_tensors(path: Path) -> dict[str, Tensor]:
    check_is_file(path, NEEDED, "check the path")
    with reading(path):
        return load_file(path)
