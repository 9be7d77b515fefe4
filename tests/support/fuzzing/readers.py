"""What reads each kind of file, as the commands do; and what a whole file of the kind holds."""

import json
import shutil
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.checkpoint_cases import ARCH
from torch import Tensor

import dfq
from dfq.checkpoint import load_checkpoint
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import read_labelled
from dfq.images.pictures import take_pictures
from dfq.models.registry import DIGITS_INPUT, build
from dfq.post_training.reconstruction.reconstruct import _Run
from dfq.results.page.quantize_page import rewrite_report_page
from dfq.results.run_folder import RunFolder
from dfq.results.start_file import load_start
from dfq.system.reading import reading
from dfq.system.state_file import StateFile
from dfq.system.torch_file import check_torch_file
from dfq.training.trainer import History
from dfq.training.training_state import TrainingState

SPEC = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))
CPU = torch.device("cpu")


def read_checkpoint(path: Path) -> None:
    arch = ARCH if path.suffix == ".safetensors" else None
    load_checkpoint(path, arch=arch, **({} if path.suffix.startswith(".pt") and path.suffix != ".pt2" else NORMAL))


NORMAL: dict[str, Any] = {"mean": 0.5, "std": 0.5}


def run_file(path: Path) -> None:
    """Runs a file in ONNX Runtime, as `dfq validate` does with that of a run."""
    Engine(path).run(np.zeros((2, *SPEC.size), np.float32))


def read_images(path: Path) -> None:
    if path.is_dir():
        take_pictures(path, SPEC)
    read_labelled(path, SPEC, 2)


class InRun:
    """Reads files of a run folder, all of whose other files are whole.

    Args:
        whole: The run folder.
    """

    def __init__(self, whole: Path):
        self.folder = Path(tempfile.mkdtemp()) / "run"
        shutil.copytree(whole, self.folder)
        self.whole = whole

    def read_student(self, path: Path) -> None:
        with _put(path, self.folder, self.whole):
            dfq.load(self.folder)

    def read_report(self, path: Path) -> None:
        with _put(path, self.folder, self.whole):
            rewrite_report_page(RunFolder(self.folder))

    def read_images(self, path: Path) -> None:
        with _put(path, self.folder, self.whole):
            RunFolder(self.folder).load_images(SPEC, CPU)


class _put:
    def __init__(self, path: Path, folder: Path, whole: Path):
        self.path, self.folder, self.whole = path, folder, whole

    def __enter__(self) -> None:
        shutil.copyfile(self.path, self.folder / self.path.name)

    def __exit__(self, *error: object) -> None:
        shutil.copyfile(self.whole / self.path.name, self.folder / self.path.name)


@cache
def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(ARCH).eval()


class _Source:
    """Stands for the source of images, which keeps nothing here."""

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        if state:
            raise ValueError("unknown keys")


def _training(path: Path | None) -> TrainingState:
    student = _network()
    optimizer = torch.optim.Adam(student.parameters())
    return TrainingState(path, student, optimizer, torch.Generator(), History(), _Source())


def training_state() -> dict[str, Any]:
    state = _training(None)
    return {
        "student": state.student.state_dict(),
        "projections": {},
        "optimizer": state.optimizer.state_dict(),
        "generator": state.generator.get_state(),
        "source": {},
        "history": asdict(state.history),
        "best": (1.0, 3, state.best_state),
        "since_record": ({"loss": 1.0}, 3, 0),
        "seconds": 3.5,
    }


def resume_training(path: Path) -> None:
    _checked(path)
    _training(path).resume()


def block_state() -> dict[str, Any]:
    block = {"name": "a", "before": 1.0, "after": 0.5, "iterations": 3, "seconds": 1.0, "kept": True}
    history = {"blocks": [block], "notes": []}
    return {"student": _network().state_dict(), "history": history, "generator": torch.Generator().get_state()}


def resume_reconstruction(path: Path) -> None:
    _checked(path)
    run = _Run.__new__(_Run)
    run.file, run.student, run.generator = StateFile(path), _network(), torch.Generator()  # type: ignore[assignment]
    run.resume()


def start_state() -> dict[str, Any]:
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    return {"images": images, "labels": torch.arange(4), "synthesizer": {"a": torch.zeros(3)}, "notes": ["made"]}


def read_start(path: Path) -> None:
    _checked(path)
    load_start(path, DIGITS_INPUT, CPU)


def stored_images() -> tuple[dict[str, Tensor], dict[str, str]]:
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    return {"images": images, "labels": torch.arange(4)}, {"input_spec": json.dumps(SPEC.to_dict())}


def _checked(path: Path) -> None:
    """Looks through a state as `RunFolder.prepare` does before it is read."""
    with reading(path):
        check_torch_file(path)
