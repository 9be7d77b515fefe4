"""Reads a folder of `save_pretrained` or timm's `save_for_hf`: weights, and a config.json that says what they are."""

from pathlib import Path
from typing import Any

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.models.timm_config import CONFIG, read_config

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # timm looks for them in this order
PARTS = ".index.json"  # follows these names where the weights are in several files
SUFFIXES = (".pt", ".pth", ".th", ".safetensors", ".bin")
FOLDER = f"a checkpoint file, or a folder with {CONFIG} and {WEIGHTS[0]} or {WEIGHTS[1]} in it"


def read_folder(folder: Path, arch: str | None) -> tuple[Path, dict[str, Any]]:
    """Returns the file with the weights, and what config.json says of them: `arch`, `input_size`, `mean`, `std`.

    Args:
        folder: Folder to read.
        arch: Architecture that the user gave. The config.json may then be another library's, or be missing.

    Raises:
        DfqError: There are no weights, they are in several files, or the config.json is not timm's.
    """
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    parts = next((folder / f"{name}{PARTS}" for name in WEIGHTS if (folder / f"{name}{PARTS}").is_file()), None)
    if weights is None and parts is not None:
        raise DfqError(
            f"'{folder}' holds its weights in several files ({parts.name})",
            "all weights in one file",
            "load the network with the library that wrote the folder and save it again: "
            "torch.save(model.state_dict(), 'weights.pt'), then pass that with --arch",
        )
    if weights is None:
        inside = sorted(each.name for each in folder.iterdir() if each.suffix in SUFFIXES)
        raise DfqError(
            f"'{folder}' is a directory", FOLDER, f"name a file; in it: {', '.join(inside[:5]) or 'no checkpoint'}"
        )
    config = folder / CONFIG
    if not config.is_file():
        return weights, {}
    try:
        found = read_config(config, f"'{config}'")
    except DfqError:
        if arch is None:
            raise
        return weights, {}
    return weights, {"arch": found.arch, **described(found.input_spec)}


def described(input_spec: InputSpec | None) -> dict[str, Any]:
    """Returns the input in the form in which checkpoints state it."""
    if input_spec is None:
        return {}
    return {"input_size": input_spec.size, "mean": input_spec.mean, "std": input_spec.std}
