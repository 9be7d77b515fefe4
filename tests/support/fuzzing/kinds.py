"""The table of file kinds: how odd files of each are made, and what reads them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from support.fuzzing import readers
from support.fuzzing.damage import damaged_bytes, damaged_json
from support.fuzzing.models import odd_onnx, odd_program, odd_safetensors
from support.fuzzing.pickles import odd_checkpoints
from support.fuzzing.pictures import odd_arrays, odd_folders

NAMES = (
    "model.pt", "model.pth", "model.safetensors", "model.pt2", "model.onnx", "quantized.onnx", "labelled.npz", "images",
    "config.json", "report.json", "student.safetensors", "images.safetensors", "training.ckpt", "reconstruction.ckpt",
    "start.ckpt",
)  # fmt: skip
Files = bytes | dict[str, bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: Name of the file or folder that is written.
        odd: Makes odd contents: of a file, or of the files of a folder.
        read: Reads the path as a command would.
    """

    name: str
    odd: st.SearchStrategy[Files]
    read: Callable[[Path], object]


def file_kinds(run: Path, model: Path) -> list[Kind]:
    """Returns all kinds of files.

    Args:
        run: A finished run folder of the network of `model`.
        model: A checkpoint.
    """
    checkpoint = torch.load(model, weights_only=True)
    config, report = (json.loads((run / f"{name}.json").read_text()) for name in ("config", "report"))
    in_run: Any = readers.InRun(run)
    weights = checkpoint["state_dict"]
    return [
        Kind("model.pt", odd_checkpoints(checkpoint), readers.read_checkpoint),
        Kind("model.pth", damaged_bytes(model.read_bytes()), readers.read_checkpoint),
        Kind("model.safetensors", odd_safetensors(weights), readers.read_checkpoint),
        Kind("model.pt2", odd_program(), readers.read_checkpoint),
        Kind("model.onnx", odd_onnx((run / "float.onnx").read_bytes()), readers.read_checkpoint),
        Kind("quantized.onnx", odd_onnx((run / "model.onnx").read_bytes()), readers.run_file),
        Kind("labelled.npz", odd_arrays(), readers.read_images),
        Kind("images", odd_folders(), readers.read_images),
        Kind("config.json", damaged_json(config), in_run.read_student),
        Kind("report.json", damaged_json(report), in_run.read_report),
        Kind("student.safetensors", damaged_bytes((run / "student.safetensors").read_bytes()), in_run.read_student),
        Kind("images.safetensors", odd_safetensors(*readers.stored_images()), in_run.read_images),
        Kind("training.ckpt", odd_checkpoints(readers.training_state(), "student"), readers.resume_training),
        Kind("reconstruction.ckpt", odd_checkpoints(readers.block_state(), "student"), readers.resume_reconstruction),
        Kind("start.ckpt", odd_checkpoints(readers.start_state(), "synthesizer"), readers.read_start),
    ]
